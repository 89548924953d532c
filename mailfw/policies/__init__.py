"""Whether mail may pass: one policy a file, and the pipeline that asks them."""
