"""Trains the tiny policies from scratch on atlas: a base that sees and reads, its fine-tuning, and GRPO from that."""
