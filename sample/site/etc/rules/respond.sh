#!/bin/sh
# Custom action of rule 100202: notes the offending address for the next firewall push.
set -eu
address="${1:?usage: respond.sh ADDRESS}"
printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$address" >> /tmp/acme-offenders.txt
