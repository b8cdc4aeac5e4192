"""From what a network puts out to instances: `nms` suppresses duplicates, `decode` makes masks of outputs."""
