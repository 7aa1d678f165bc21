#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Called by the high-availability manager (keepalived and the like) when the role of this node changes:
#
#   primary-backup.sh primary|backup|fault
#
# A command that fails is reported to syslog and does not stop the others: half a take-over is better than none. But none is
# waited for without end: a daemon that is alive and does not answer would not answer the others either.
# Exit status: 0, or 1 for any other word and for a daemon that is alive but does not answer: it is left as it is.
#
# Environment: CONNTRACKD_BIN     the daemon, default /usr/sbin/ctsyncd, else /usr/sbin/conntrackd
#              CONNTRACKD_CONFIG  its configuration file
#              CONNTRACKD_LOCK    its lock file, must be what LockFile says there

if [ -z "${CONNTRACKD_BIN:-}" ]; then
	CONNTRACKD_BIN=/usr/sbin/ctsyncd
	[ -x "$CONNTRACKD_BIN" ] || CONNTRACKD_BIN=/usr/sbin/conntrackd
fi
: "${CONNTRACKD_CONFIG:=/etc/conntrackd/conntrackd.conf}"
: "${CONNTRACKD_LOCK:=/var/lock/conntrackd.lock}"

# unanswered OPTION [SECONDS]: the end of it.
unanswered() {
	logger -t primary-backup -p daemon.err "$role: '$CONNTRACKD_BIN $1' was not answered within ${2:-60} seconds, giving up: \
is the daemon stopped?"
	exit 1
}

# request OPTION [SECONDS]: more than any of them takes on a daemon that is well.
request() {
	timeout -k 5 "${2:-60}" "$CONNTRACKD_BIN" -C "$CONNTRACKD_CONFIG" "$1"
	status=$?
	case $status in
	0) ;;
	124 | 137)
		unanswered "$@"
		;;
	*) logger -t primary-backup -p daemon.err "$role: '$CONNTRACKD_BIN $1' failed with status $status" ;;
	esac
}

# together OPTION [SECONDS]: one request that does what several do, in the order that serves users first. Fails where the
# daemon has none such: conntrackd, which prints its usage and ends with 0, or an older one that has not been restarted yet.
together() {
	outcome=$(timeout -k 5 "${2:-60}" "$CONNTRACKD_BIN" -C "$CONNTRACKD_CONFIG" "$1" 2>/dev/null)
	status=$?
	case $status:$outcome in
	0:"took over"* | 0:"standing by"* | 0:"a commit is under way"*) ;;
	124:* | 137:*)
		unanswered "$@"
		;;
	*) return 1 ;;
	esac
	logger -t primary-backup -p daemon.notice "$role: $outcome"
}

# Removes the lock that a dead daemon left behind. Fails if the daemon is alive: ctsyncd keeps the file locked; conntrackd leaves
# an empty file, so that only its process tells. The file is removed under the lock, lest it be that of a daemon just starting.
remove_stale_lock() {
	[ -e "$CONNTRACKD_LOCK" ] || return 0
	if [ ! -s "$CONNTRACKD_LOCK" ] && pidof conntrackd >/dev/null; then return 1; fi
	flock --nonblock "$CONNTRACKD_LOCK" rm -f "$CONNTRACKD_LOCK"
}

role=${1:-}
case $role in
primary)
	together --takeover 300 && exit 0
	request -c 300 # the peer's flows into the kernel; returns when all are there: minutes, if they are many
	request -f # forget both caches
	request -R # learn what the kernel has now
	request -B # and tell the peers that these flows are ours
	;;
backup)
	if ! timeout 10 "$CONNTRACKD_BIN" -C "$CONNTRACKD_CONFIG" -s >/dev/null 2>&1; then
		if ! remove_stale_lock; then
			logger -t primary-backup -p daemon.err "$role: the daemon does not answer, but it is alive or '$CONNTRACKD_LOCK' \
cannot be removed: not starting another one"
			exit 1
		fi
		logger -t primary-backup -p daemon.warning "$role: the daemon does not run, starting it"
		request -d
	fi
	together --standby && exit 0
	request -t # flush the stale flows of the kernel after PurgeTimeout
	request -n # ask the new primary for its flows
	;;
fault)
	request -t
	;;
*)
	echo "usage: $0 primary|backup|fault" >&2
	logger -t primary-backup -p daemon.err "unknown role '$role', expected primary, backup or fault"
	exit 1
	;;
esac
exit 0
