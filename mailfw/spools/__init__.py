"""Where the queue is kept until nothing is left to do."""
