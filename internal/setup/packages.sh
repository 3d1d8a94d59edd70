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
tests='certtool:gnutls-bin certutil:libnss3-tools ocsptool:gnutls-bin softhsm2-util:softhsm2 strace:strace java:default-jdk-headless ip:iproute2 iptables:iptables'

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

# install waits for another apt-get, as machines run one when they boot.
install() {
	RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install -y -qq --no-install-recommends "$@" >/dev/null
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	# What cannot be had must not keep away the rest, nor the tests that need none of it.
	apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update -qq || true
	# shellcheck disable=SC2086 # a list of words is meant
	install $missing || for package in $missing; do
		install "$package" || echo "cannot be installed: $package" >&2
	done
	command -v gcc >/dev/null 2>&1
	exit
fi

echo "Missing Debian packages:$missing" >&2
echo "Install them (as root: apt-get install$missing) and run this again." >&2
# Without a compiler nothing can be built; tests whose tool is missing say so and are skipped.
command -v gcc >/dev/null 2>&1
