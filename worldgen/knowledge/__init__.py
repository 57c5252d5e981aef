"""What atlas knows: facts, the pages that state them, and the questions that ask for them."""
