#!/bin/sh
# Installs tools that some tests ask for, as root and where apt is there. Nothing depends on them:
# a test whose tool is missing says so and is skipped.
set -eu
TOOLS="bind9-dnsutils knot-dnsutils"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "system tools: not installed (needs root and apt-get)" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
timeout 120 apt-get update -qq >/dev/null 2>&1 || true
for tool in $TOOLS; do
  timeout 120 apt-get install -y -qq --no-install-recommends "$tool" >/dev/null 2>&1 ||
    echo "system tools: $tool could not be installed" >&2
done
