"""The few pages that mailfw shows over HTTP."""
