"""How fast an endpoint is asked: as much as it takes, never more than it was asked to bear.

``pacer`` says when an attempt may start, ``endpoint_health`` what an answer says of the endpoint, ``failures`` what an
exception says, and ``calls`` is the one dispatcher of attempts. It never knows what is asked, or what an answer means.
"""
