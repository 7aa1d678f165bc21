# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# Installs Debian packages without letting their services start. To be sourced.

BUILD_PACKAGES=(g++ cmake ninja-build pkg-config bison flex libfmt-dev libmnl-dev libnetfilter-conntrack-dev
	libgtest-dev libpcap-dev)
# netbase: without /etc/protocols Debian's conntrackd knows no protocol by name. The demo does without.
TEST_PACKAGES=(clang-16 clang-format-16 clang-tidy-16 libclang-rt-16-dev llvm-16 python3-pytest python3-pytest-xdist
	python3-pyflakes netbase groff-base strace tmux prometheus python3-prometheus-client)
VM_PACKAGES=(debootstrap e2fsprogs qemu-system-x86)
LAB_PACKAGES=(iproute2 iputils-ping nftables conntrack conntrackd keepalived python3 procps util-linux)

# install_packages NAME...: installs those that are missing. Services of newly installed packages are neither started now nor
# at the next boot; an existing policy-rc.d is left as it is.
install_packages() {
	local package missing=() services=() service guard=
	for package; do
		[[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	if ((EUID != 0)); then
		echo "these packages are missing and only root can install them: ${missing[*]}" >&2
		return 1
	fi
	for service in conntrackd keepalived prometheus; do
		[[ " ${missing[*]} " == *" $service "* ]] && services+=("$service")
	done
	if ((${#services[@]})); then
		if [[ ! -e /usr/sbin/policy-rc.d ]]; then
			guard=/usr/sbin/policy-rc.d
			printf '#!/bin/sh\nexit 101\n' > "$guard"
			chmod 755 "$guard"
		fi
		mask_services "${services[@]}"
	fi
	echo "installing: ${missing[*]}"
	local status=0
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
		> /tmp/ctsyncd-apt.$$ 2>&1 || status=1
	((status == 0)) || cat /tmp/ctsyncd-apt.$$
	rm -f /tmp/ctsyncd-apt.$$
	[[ -z $guard ]] || rm -f "$guard"
	unmask_services "${services[@]}"
	return $status
}

# On a machine with systemd a unit that is masked at run time cannot start, whatever a policy-rc.d says.
mask_services() {
	[[ -d /run/systemd/system ]] || return 0
	local service
	for service; do
		ln -sf /dev/null "/run/systemd/system/$service.service"
	done
	systemctl daemon-reload
}

unmask_services() {
	[[ -d /run/systemd/system ]] && (($#)) || return 0
	local service
	for service; do
		rm -f "/run/systemd/system/$service.service"
	done
	systemctl daemon-reload
	systemctl disable --quiet "$@" || true
}
