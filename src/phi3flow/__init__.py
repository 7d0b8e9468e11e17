"""phi3flow: a Prompt flow package with an evaluation harness."""

import os

__version__ = "0.1.0"

# To import promptflow starts a thread that asks Azure Monitor for its settings, even with telemetry.enabled=false.
os.environ.setdefault("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED", "true")
