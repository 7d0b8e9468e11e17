"""The modules of flows/eval/content_safety, which is no package: a flow's folder is on the path while it runs."""

from __future__ import annotations

import sys

from tests.support.paths import FLOWS

FLOW = FLOWS / "eval" / "content_safety"
sys.path.insert(0, str(FLOW))
try:
    import content_safety_client as client
    import content_safety_package as package
    import content_safety_refusals as refusals
    import content_safety_service as service
    import content_safety_verdicts as verdicts
finally:
    sys.path.remove(str(FLOW))

__all__ = ["FLOW", "client", "package", "refusals", "service", "verdicts"]
