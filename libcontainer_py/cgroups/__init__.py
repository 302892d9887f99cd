"""Control groups: one interface, a driver for each way in which a host may have them.

`manager` picks the driver, `interface` says what each of them does. `v1` (hybrid hosts too) is made
of `hierarchies` (what is mounted where), `directories` (made and removed), `limits_v1`,
`devices_v1` and `freezer_v1`; `v2` of `levels_v2` (controllers, handed down), `limits_v2` and
`devices_v2`; `disabled` stands in where there are no cgroups to be had. With ``--systemd-cgroup``
`systemd` makes a scope of them: a `systemd_unit`, spoken to by `dbus`, with `systemd_properties`
and what `systemd_annotations` ask for.

What only some containers ask for is imported when they do: the limits of `block_io`, `hugetlb`,
`rdma` and `net_v1`. So is what a container needs only later: `saved` (changed limits, put back),
`stats`, `stats_v1` and `stats_v2`, `oom`, and `doors` (for a second process).
"""
