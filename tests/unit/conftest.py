"""Examples may take their time: a busy machine is no failure. Where all is slow, few will do."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", parent=settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")
