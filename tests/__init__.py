"""The tests; what a slow or busy machine makes of Hypothesis's clocks is no failure of ours."""

from hypothesis import HealthCheck, settings

# An example's time is that of whatever else runs here; what must not take long has tests of its own that count work.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
