# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# To be sourced by the laboratories. Installs their packages; build TARGET... makes these for release.
# CTSYNCD=PATH uses another daemon and builds nothing.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

if ((EUID != 0)); then
	echo "$0 needs root: it makes network namespaces" >&2
	exit 1
fi
# shellcheck source=../packages.sh
source "$root/tests/packages.sh"
install_packages "${LAB_PACKAGES[@]}"

build() {
	[[ -z ${CTSYNCD:-} ]] || return 0
	install_packages "${BUILD_PACKAGES[@]}"
	local log
	log=$(mktemp)
	echo "building ctsyncd"
	(cd "$root" && cmake --preset release && cmake --build --preset release --target "$@") > "$log" 2>&1 ||
		{ cat "$log"; rm -f "$log"; exit 1; }
	rm -f "$log"
}
