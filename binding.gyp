{
  # The native addon: plain C, one shared object, no library but what Node itself exports (N-API, OpenSSL).
  "targets": [
    {
      "target_name": "anyhop",
      "sources": [
        "native/addon.c",
        "native/aead.c",
        "native/coalesce.c",
        "native/crypto.c",
        "native/device.c",
        "native/device_frame.c",
        "native/handshake.c",
        "native/hmac_sha1.c",
        "native/local_address.c",
        "native/poll_set.c",
        "native/satp.c",
        "native/sha1_x16.c",
        "native/split.c",
        "native/sys.c",
        "native/udp.c",
        "native/udp_send.c",
        "native/x25519.c"
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
