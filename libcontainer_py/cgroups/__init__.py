"""Control groups: one interface, a driver for each way in which a host may have them.

`manager` picks the driver, `interface` says what each of them does. `v1` (hybrid hosts too) is made
of `hierarchies` (what is mounted where), `directories` (made and removed), `limits_v1`,
`devices_v1` and `freezer_v1`; `v2` of `limits_v2` and `devices_v2`; `disabled` stands in where
there are no cgroups to be had.
"""
