#!/usr/bin/env bash
# Installs OpenStack Swift, whose S3 interface the tests of S3 stores run against: a real object store that checks
# signatures and digests. As root, on Debian 12 or later; where it is installed already it does nothing.
#
# Debian 12's own Swift knows no conditional writes. So what Swift needs comes from the installed release, and its
# Python code, which runs on any, is unpacked from a later release's package into a directory of its own: no package of
# a later release is installed.
set -euo pipefail

target=/usr/local/lib/backup-gateway-swift
# The first that has it; both are on every mirror of Debian.
suites=(forky sid)

if [ -f "$target/installed" ]; then exit 0; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo 'The object store for the tests is installed by root on a Debian system: run test/support/swift/install.sh there.' >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

apt-get update -qq
# Debian names the packages that Swift needs alike in each release; what its code does not need by now is not looked for.
dependencies=$(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances python3-swift |
  sed -n 's/^ *\(Pre\)\{0,1\}Depends: \([a-z0-9.+-]*\)$/\2/p')
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $dependencies >/dev/null

# The mirror that apt uses for the release itself, asked for a later one, with lists apart from the system's.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
  awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ { print $1; exit }')
if [ -z "$mirror" ]; then
  echo 'apt is not configured for a mirror of Debian, which the tests get their object store from.' >&2
  exit 1
fi
for suite in "${suites[@]}"; do
  mkdir -p "$work/$suite/lists/partial" "$work/$suite/unpacked"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$work/$suite/sources.list"
  later=(-o Dir::Etc::SourceList="$work/$suite/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$work/$suite/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  if apt-get "${later[@]}" -qq update && (cd "$work/$suite" && apt-get "${later[@]}" -qq download python3-swift); then break; fi
done
package=$(find "$work" -name 'python3-swift_*_all.deb' | head -n 1)
if [ -z "$package" ]; then
  echo "The mirror of Debian that apt uses has no Swift in ${suites[*]}, or cannot be reached." >&2
  exit 1
fi
dpkg-deb -x "$package" "$work/unpacked"
rm -rf "$target"
mkdir -p "$target"
cp -R "$work"/unpacked/usr/lib/python3/dist-packages/. "$target/"
chmod -R a+rX "$target"
PYTHONPATH=$target /usr/bin/python3 -c 'import swift.proxy.server, swift.obj.server, swift.common.middleware.s3api'
basename "$package" > "$target/installed"
