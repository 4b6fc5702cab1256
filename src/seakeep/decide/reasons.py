"""Every code that a controller gives as a reason, with a sentence to fill from its numbers.

Placeholders name the reason's subject and numbers. Each controller keeps its own sentences.
"""

from collections.abc import Mapping

from seakeep.decide import (
    arbitrate,
    dns,
    draining,
    health,
    limits,
    parts,
    placement,
    rollout,
    scaling,
    standby,
    traffic,
)

REASONS: Mapping[str, str] = {
    **parts.REASONS,
    **health.REASONS,
    **scaling.REASONS,
    **draining.REASONS,
    **standby.REASONS,
    **rollout.REASONS,
    **placement.REASONS,
    **traffic.REASONS,
    **dns.REASONS,
    **limits.REASONS,
    **arbitrate.REASONS,
}
