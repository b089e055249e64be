"""Tokenizers: the ids that transformers and llama.cpp give a text, from whatever a checkpoint holds."""
