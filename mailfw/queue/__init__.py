"""The queue: where mail is taken, tried again until it is delivered or given back, and reported on."""
