"""Reading what tools answer, by rule: results, names, answers, pointers, and what a question points at."""
