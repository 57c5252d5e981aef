"""How the bundled world `atlas` is made: facts, drawings, scenes, pages and questions."""
