// SPDX-License-Identifier: GPL-2.0-or-later
// Messages of stock conntrackd 1.4.7 on a little-endian host, from the captures: the worked examples of spec
// replication.md 7, in the notation of hex().
#pragma once

namespace ctsync::wire_test {

// Data sent while HELLO is unanswered (ftfw-02-hello-with-data).
inline constexpr char kUdpWithHello[] =
    "10 20 00 34 6b 02 fc 2f "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 08 "
    "00 05 00 02 11 00 00 00 "
    "00 08 00 03 b4 15 00 35 "
    "00 08 00 06 00 00 00 1e ";

// SYN seen (ftfw-03-tcp-all-states).
inline constexpr char kSynSent[] =
    "10 00 00 3c 6b 02 f5 50 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 08 "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9c 42 13 88 "
    "00 05 00 04 01 00 00 00 "
    "00 08 00 06 00 00 00 78 ";

// Established (ftfw-03-tcp-all-states).
inline constexpr char kEstablished[] =
    "11 00 00 3c 6b 02 f5 55 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 0e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9c 42 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 ";

// Destroyed: full cached state repeated (ftfw-03-tcp-all-states).
inline constexpr char kDestroyed[] =
    "12 00 00 3c 6b 02 f5 5c "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 0e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9c 42 13 88 "
    "00 05 00 04 07 00 00 00 "
    "00 08 00 06 00 00 00 78 ";

// Established with TCPWindowTracking On (ftfw-19-tcpwindowtracking-on).
inline constexpr char kWindowScale[] =
    "11 00 00 4c 6b 02 f8 79 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 8e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9e fd 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 05 00 19 0a 00 00 00 "
    "00 05 00 1a 0a 00 00 00 "
    "00 08 00 06 00 06 97 80 ";

// Without TIMEOUT because the sender has CommitTimeout (ftfw-20-committimeout-sender).
inline constexpr char kNoTimeout[] =
    "11 20 00 34 6b 02 fc 4b "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 0e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a0 27 13 88 "
    "00 05 00 04 03 00 00 00 ";

// ICMP echo, id 0x1234, no NAT hooks (ftfw-04-udp-icmp-sctp-gre-other).
inline constexpr char kIcmpEcho[] =
    "11 00 00 44 6b 02 fa 27 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 0a "
    "00 05 00 02 01 00 00 00 "
    "00 05 00 16 08 00 00 00 "
    "00 05 00 17 00 00 00 00 "
    "00 06 00 18 34 12 00 00 "
    "00 08 00 06 00 00 00 1e ";

// SCTP association up (ftfw-04-udp-icmp-sctp-gre-other).
inline constexpr char kSctp[] =
    "11 00 00 4c 6b 02 fa 2b "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 0e "
    "00 05 00 02 84 00 00 00 "
    "00 08 00 03 13 89 13 8a "
    "00 05 00 11 04 00 00 00 "
    "00 08 00 12 55 66 77 88 "
    "00 08 00 13 11 22 33 44 "
    "00 08 00 06 00 00 00 d2 ";

// GRE: no port or key attribute (ftfw-04-udp-icmp-sctp-gre-other).
inline constexpr char kGreNoKeys[] =
    "10 00 00 2c 6b 02 fa 2c "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 00 08 "
    "00 05 00 02 2f 00 00 00 "
    "00 08 00 06 00 00 00 1e ";

// IPv6 TCP (ftfw-05-ipv6-nat66).
inline constexpr char kIpv6Tcp[] =
    "11 00 00 54 6b 02 f5 b3 "
    "00 24 00 01 fd 77 00 01 00 00 00 00 "
    "00 00 00 00 00 00 00 02 fd 77 00 02 "
    "00 00 00 00 00 00 00 00 00 00 00 02 "
    "00 08 00 05 00 00 01 8e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9c 55 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 ";

// ICMPv6 echo id 0x5678 with NAT hooks loaded, not NATed (ftfw-05-ipv6-nat66).
inline constexpr char kIcmpv6Hooks[] =
    "11 00 00 6c 6b 02 f5 c0 "
    "00 24 00 01 fd 77 00 01 00 00 00 00 "
    "00 00 00 00 00 00 00 02 fd 77 00 02 "
    "00 00 00 00 00 00 00 00 00 00 00 02 "
    "00 08 00 05 00 00 01 8a "
    "00 05 00 02 3a 00 00 00 "
    "00 05 00 16 80 00 00 00 "
    "00 05 00 17 00 00 00 00 "
    "00 06 00 18 78 56 00 00 "
    "00 08 00 06 00 00 00 1e "
    "00 06 00 0e 00 00 00 00 "
    "00 06 00 0f 00 00 00 00 ";

// SNAT to 10.77.2.100, source port 41001 to 50591 (ftfw-06-snat-dnat-ipv4).
inline constexpr char kSnat[] =
    "11 00 00 4c 6b 02 f5 7d "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 9e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a0 29 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 08 00 0c 0a 4d 02 64 "
    "00 06 00 0e 9f c5 00 00 ";

// DNAT 10.77.1.200:80 to 10.77.2.2:5000 (ftfw-06-snat-dnat-ipv4).
inline constexpr char kDnat[] =
    "11 00 00 4c 6b 02 f5 81 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 01 c8 "
    "00 08 00 05 00 00 01 ae "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9c 4b 00 50 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 08 00 0d 0a 4d 02 02 "
    "00 06 00 0f 88 13 00 00 ";

// Both (ftfw-06-snat-dnat-ipv4).
inline constexpr char kBothNat[] =
    "11 00 00 5c 6b 02 f5 85 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 01 c8 "
    "00 08 00 05 00 00 01 be "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a0 2a 00 50 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 08 00 0c 0a 4d 02 64 "
    "00 08 00 0d 0a 4d 02 02 "
    "00 06 00 0e c0 c6 00 00 "
    "00 06 00 0f 88 13 00 00 ";

// ICMP SNAT: the two port attributes are noise (ftfw-06-snat-dnat-ipv4).
inline constexpr char kIcmpSnat[] =
    "11 00 00 5c 6b 02 f5 8f "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 9a "
    "00 05 00 02 01 00 00 00 "
    "00 05 00 16 08 00 00 00 "
    "00 05 00 17 00 00 00 00 "
    "00 06 00 18 34 12 00 00 "
    "00 08 00 06 00 00 00 1e "
    "00 08 00 0c 0a 4d 02 64 "
    "00 06 00 0e 00 00 00 00 "
    "00 06 00 0f 00 00 00 00 ";

// SNAT66 (ftfw-05-ipv6-nat66).
inline constexpr char kSnat66[] =
    "11 00 00 68 6b 02 f5 b7 "
    "00 24 00 01 fd 77 00 01 00 00 00 00 "
    "00 00 00 00 00 00 00 02 fd 77 00 02 "
    "00 00 00 00 00 00 00 00 00 00 00 02 "
    "00 08 00 05 00 00 01 9e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a0 3d 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 14 00 1d fd 77 00 02 00 00 00 00 "
    "00 00 00 00 00 00 01 00 ";

// DNAT66 with port change (ftfw-05-ipv6-nat66).
inline constexpr char kDnat66[] =
    "11 00 00 70 6b 02 f5 bc "
    "00 24 00 01 fd 77 00 01 00 00 00 00 "
    "00 00 00 00 00 00 00 02 fd 77 00 01 "
    "00 00 00 00 00 00 00 00 00 00 02 00 "
    "00 08 00 05 00 00 01 ae "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 9c 56 00 50 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 14 00 1e fd 77 00 02 00 00 00 00 "
    "00 00 00 00 00 00 00 02 "
    "00 06 00 0f 88 13 00 00 ";

// Mark (ftfw-07-mark-zone-label).
inline constexpr char kMark[] =
    "11 00 00 44 6b 02 f5 cc "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 8e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a8 5d 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 08 00 07 de ad be ef ";

// Zone 9 (ftfw-07-mark-zone-label).
inline constexpr char kZone9[] =
    "10 00 00 3c 6b 02 f5 ca "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 88 "
    "00 05 00 02 11 00 00 00 "
    "00 08 00 03 a7 fa 1e 61 "
    "00 08 00 06 00 00 00 1e "
    "00 06 00 20 00 09 00 00 ";

// Labels, bit 5 (ftfw-07-mark-zone-label).
inline constexpr char kLabelBit5[] =
    "11 00 00 50 6b 02 f5 d1 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 8e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a8 c1 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 14 00 1c 00 00 00 20 00 00 00 00 "
    "00 00 00 00 00 00 00 00 ";

// Helper (ftfw-08-expect-ftp-passive).
inline constexpr char kHelperFtp[] =
    "10 00 00 44 6b 02 f5 ce "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 21 88 "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 ab e1 00 15 "
    "00 05 00 04 01 00 00 00 "
    "00 08 00 06 00 00 00 78 "
    "00 08 00 1b 66 74 70 00 ";

// Related flow (second message of the datagram) (ftfw-08-expect-ftp-passive).
inline constexpr char kRelated[] =
    "11 00 00 58 6b 02 f5 d3 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 8f "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 c2 fa 75 45 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 80 "
    "00 0c 00 08 0a 4d 01 02 0a 4d 02 02 "
    "00 05 00 0a 06 00 00 00 "
    "00 08 00 0b ab e1 00 15 ";

// Sequence adjustment, after a dump (fifth message of a bulk datagram) (ftfw-10-bulk-send-seqadj-expect).
inline constexpr char kSeqAdjust[] =
    "11 00 00 78 6b 02 f6 27 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 21 de "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a0 5c 00 15 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 7e "
    "00 08 00 07 00 00 00 00 "
    "00 08 00 0c 0a 4d 02 64 "
    "00 06 00 0e 53 c5 00 00 "
    "00 1c 00 10 7c b7 0e ba 00 00 00 00 "
    "00 00 00 03 00 00 00 00 00 00 00 00 "
    "00 00 00 00 "
    "00 08 00 1b 66 74 70 00 ";

// Entry that was created by a commit (ftfw-18-after-commit-synproxy-attr).
inline constexpr char kCommitted[] =
    "10 00 00 64 6b 02 f8 62 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 01 9e "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a2 81 13 88 "
    "00 05 00 04 03 00 00 00 "
    "00 08 00 06 00 06 97 7e "
    "00 08 00 07 00 00 00 00 "
    "00 08 00 0c 0a 4d 02 64 "
    "00 06 00 0e a9 c4 00 00 "
    "00 10 00 1f 00 00 00 00 00 00 00 00 "
    "00 00 00 00 ";

// FTP passive (ftfw-08-expect-ftp-passive).
inline constexpr char kFtpPassive[] =
    "13 00 00 7c 6b 02 f5 d0 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 ab e1 00 15 "
    "00 0c 00 04 0a 4d 01 02 0a 4d 02 02 "
    "00 05 00 06 06 00 00 00 "
    "00 08 00 07 00 00 75 45 "
    "00 0c 00 08 ff ff ff ff ff ff ff ff "
    "00 05 00 0a 06 00 00 00 "
    "00 08 00 0b 00 00 ff ff "
    "00 08 00 0c 00 00 01 2c "
    "00 08 00 0d 00 00 00 00 "
    "00 08 00 0e 00 00 00 00 "
    "00 08 00 13 66 74 70 00 ";

// FTP active behind SNAT (ftfw-09-expect-ftp-active-nat).
inline constexpr char kFtpActiveNat[] =
    "13 00 00 b8 6b 02 f6 08 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 05 00 02 06 00 00 00 "
    "00 08 00 03 a0 5b 00 15 "
    "00 0c 00 04 0a 4d 02 02 0a 4d 02 64 "
    "00 05 00 06 06 00 00 00 "
    "00 08 00 07 00 00 82 35 "
    "00 0c 00 08 ff ff ff ff ff ff ff ff "
    "00 05 00 0a 06 00 00 00 "
    "00 08 00 0b 00 00 ff ff "
    "00 08 00 0c 00 00 01 2c "
    "00 08 00 0d 00 00 00 00 "
    "00 08 00 0e 00 00 00 00 "
    "00 0c 00 0f 00 00 00 00 00 00 00 00 "
    "00 05 00 11 06 00 00 00 "
    "00 08 00 10 82 35 00 00 "
    "00 08 00 12 00 00 00 01 "
    "00 08 00 13 66 74 70 00 "
    "00 16 00 14 6e 61 74 2d 66 6f 6c 6c "
    "6f 77 2d 6d 61 73 74 65 72 00 00 00 ";

// NOTRACK without internal cache: destroy, note the dying bit (notrack-03-disableinternalcache-destroy).
inline constexpr char kDying[] =
    "12 00 00 34 6b 02 f8 94 "
    "00 0c 00 00 0a 4d 01 02 0a 4d 02 02 "
    "00 08 00 05 00 00 03 88 "
    "00 05 00 02 11 00 00 00 "
    "00 08 00 03 b0 23 00 35 "
    "00 08 00 06 00 00 00 1c ";

}  // namespace ctsync::wire_test
