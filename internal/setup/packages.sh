#!/bin/sh
# Makes sure that the programs which building and testing need are here: installs
# Debian's packages where this is Debian and we are root, otherwise says what is missing.
#
#   packages.sh build   a C compiler, for SQLite
#   packages.sh demo    also the clients that the demo shows
#   packages.sh test    also the clients and tools that the tests use
set -eu

# program:package
demo='openssl:openssl curl:curl'
tests='certtool:gnutls-bin certutil:libnss3-tools ocsptool:gnutls-bin softhsm2-util:softhsm2 strace:strace java:openjdk-17-jdk-headless ip:iproute2 iptables:iptables'

# Debian starts an nginx that it installs. Only where nothing can be started, in a container, is
# it worth a test.
[ -d /run/systemd/system ] || tests="$tests nginx:nginx"

case "${1:-}" in
build) wanted="gcc:gcc" ;;
demo) wanted="gcc:gcc $demo" ;;
test) wanted="gcc:gcc $demo $tests" ;;
*)
	echo "usage: $0 build|demo|test" >&2
	exit 2
	;;
esac

missing=''
for pair in $wanted; do
	command -v "${pair%%:*}" >/dev/null 2>&1 && continue
	case "$missing " in
	*" ${pair#*:} "*) ;;
	*) missing="$missing ${pair#*:}" ;;
	esac
done
[ -n "$missing" ] || exit 0
case " $missing " in *' gcc '*) missing="$missing libc6-dev" ;; esac

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words is meant
	RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
	exit 0
fi

echo "Missing Debian packages:$missing" >&2
echo "Install them (as root: apt-get install$missing) and run this again." >&2
# Without a compiler nothing can be built; tests whose tool is missing say so and are skipped.
command -v gcc >/dev/null 2>&1
