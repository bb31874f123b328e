#!/bin/bash
# On a spot machine: when EC2 gives its two minutes' notice, tell Ray, so that a checkpoint is written and training goes
# on elsewhere. Ends when it has. Usage: drain-on-notice.sh [SECONDS between looks]
set -u
metadata=${EC2_METADATA:-http://169.254.169.254}/latest
get=(wget --quiet --timeout=2 --tries=1 --output-document=-)
while sleep "${1:-5}"; do
    token=$("${get[@]}" --method=PUT --header='X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token") || continue
    # 404 as long as there is no notice
    "${get[@]}" --header="X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action" || continue
    # Without an address the command would start a Ray of its own here, and drain that.
    RAY_ADDRESS=auto ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'spot notice' \
        --deadline-remaining-seconds 110 && exit
done
