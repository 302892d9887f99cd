"""The messages between us and criu: of its images/rpc.proto, what we use, under its own names."""

SCHEMA = {
    "criu_req": {
        "type": (1, "int"),
        "opts": (2, "criu_opts"),
        "notify_success": (3, "bool"),
    },
    "criu_opts": {
        "images_dir_fd": (1, "int"),
        "pid": (2, "int"),
        "leave_running": (3, "bool"),
        "ext_unix_sk": (4, "bool"),
        "tcp_established": (5, "bool"),
        "evasive_devices": (6, "bool"),
        "shell_job": (7, "bool"),
        "file_locks": (8, "bool"),
        "log_level": (9, "int"),
        "log_file": (10, "str"),
        "ps": (11, "criu_page_server_info"),
        "notify_scripts": (12, "bool"),
        "root": (13, "str"),
        "parent_img": (14, "str"),
        "track_mem": (15, "bool"),
        "auto_dedup": (16, "bool"),
        "work_dir_fd": (17, "int"),
        "link_remap": (18, "bool"),
        "ext_mnt": (23, "ext_mount_map"),
        "manage_cgroups": (24, "bool"),
        "cg_root": (25, "cgroup_root"),
        "rst_sibling": (26, "bool"),
        "inherit_fd": (27, "inherit_fd"),
        "manage_cgroups_mode": (34, "int"),
        "external": (37, "str"),
        "empty_ns": (38, "int"),
        "join_ns": (39, "join_namespace"),
        "freeze_cgroup": (44, "str"),
        "tcp_skip_in_flight": (46, "bool"),
        "lazy_pages": (48, "bool"),
        "orphan_pts_master": (50, "bool"),
        "config_file": (51, "str"),
        "lsm_profile": (53, "str"),
        "lsm_mount_context": (63, "str"),
    },
    "criu_page_server_info": {"address": (1, "str"), "port": (2, "int")},
    "ext_mount_map": {"key": (1, "str"), "val": (2, "str")},
    "cgroup_root": {"ctrl": (1, "str"), "path": (2, "str")},
    "inherit_fd": {"key": (1, "str"), "fd": (2, "int")},
    "join_namespace": {"ns": (1, "str"), "ns_file": (2, "str")},
    "criu_resp": {
        "type": (1, "int"),
        "success": (2, "bool"),
        "restore": (4, "criu_restore_resp"),
        "notify": (5, "criu_notify"),
        "cr_errno": (7, "int"),
        "cr_errmsg": (9, "str"),
        "version": (10, "criu_version"),
    },
    "criu_restore_resp": {"pid": (1, "int")},
    "criu_notify": {"script": (1, "str"), "pid": (2, "int")},
    "criu_version": {"major_number": (1, "int"), "minor_number": (2, "int")},
}

# criu_req_type
DUMP, RESTORE, PRE_DUMP, NOTIFY, VERSION = 1, 2, 4, 6, 10

# criu_cg_mode, by the words of --manage-cgroups-mode
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5, "": 6}
