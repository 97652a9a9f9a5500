{
  # The native addon: plain C, one shared object, no library but what Node itself exports (N-API, OpenSSL).
  "targets": [
    {
      "target_name": "anyhop",
      "sources": [
        "native/addon.c",
        "native/crypto.c",
        "native/device.c",
        "native/poll_set.c",
        "native/satp.c",
        "native/sys.c",
        "native/udp.c",
        "native/udp_send.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags_c": [
        "-std=c11",
        "-O3",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wshadow",
        "-Wconversion",
        "-Wstrict-prototypes"
      ]
    }
  ]
}
