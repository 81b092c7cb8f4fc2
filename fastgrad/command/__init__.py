"""The command line ``fastgrad compare | info | warmup``, and what it computes and prints."""
