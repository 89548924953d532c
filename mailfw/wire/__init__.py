"""The border with the reactor: nothing above it knows about transports."""
