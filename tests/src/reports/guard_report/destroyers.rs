//! Ways of destroying 5,000 files from outside the session.

use super::case::{Case, case};

/// The files are in a subvolume, `$W/fs/all`.
const SUBVOLUME: &str = r#"truncate -s 256M "$S/fs.img" && mkfs.btrfs -q "$S/fs.img" && mkdir "$W/fs" && mount -o loop "$S/fs.img" "$W/fs" && btrfs -q subvolume create "$W/fs/all" && mv "$D" "$W/fs/all/files""#;

/// The files are an overlay's lower ones, `$S/merged`.
const OVERLAY: &str = r#"mkdir "$S/upper" "$S/work" "$S/merged" && mount -t tmpfs none "$S/upper" && mkdir "$S/upper/u" "$S/upper/w" && mount -t overlay -o "lowerdir=$D,upperdir=$S/upper/u,workdir=$S/upper/w" none "$S/merged""#;

pub(crate) const DESTROYERS: &[Case] = &[
    case("rm -rf", r#"rm -rf "$D""#),
    case(
        "rm from eight shells",
        r#"for i in 0 1 2 3 4 5 6 7; do (for d in "$D"/?$i; do rm -f "$d"/*; done) & done; wait"#,
    )
    .at_once(8),
    case(
        "xargs -P 8 rm",
        r#"find "$D" -type f -print0 | xargs -0 -P 8 -n 50 rm -f"#,
    )
    .at_once(8),
    case(
        "200 short-lived processes, 25 files each",
        r#"find "$D" -type f -print0 | xargs -0 -n 25 rm -f"#,
    ),
    case(
        "a process a file",
        r#"for f in "$D"/*/*; do sh -c 'rm -f "$1"; :' sh "$f"; done"#,
    ),
    case("a child a file, without a program of its own", r#""$B" fork "$D""#),
    case("find -delete", r#"find "$D" -type f -delete"#),
    case("find -exec rm", r#"find "$D" -type f -exec rm -f {} \;"#),
    case("find -exec rm +", r#"find "$D" -type f -exec rm -f {} +"#),
    case("git clean -fdx", r#"git -C "$D" clean -fdxq"#)
        .before(r#"git init -q "$D""#)
        .needs(&["git"]),
    case("git rm -r", r#"git -C "$D" rm -rfq ."#)
        .before(r#"git init -q "$D" && git -C "$D" add . && git -C "$D" commit -qm all"#)
        .needs(&["git"]),
    case(
        "rsync --delete",
        r#"mkdir "$S/empty" && rsync -a --delete "$S/empty/" "$D/""#,
    )
    .needs(&["rsync"]),
    case(
        "Python os.unlink",
        r#"python3 -c 'import os,sys
for at, _, names in os.walk(sys.argv[1]):
    for name in names: os.unlink(os.path.join(at, name))' "$D""#,
    )
    .needs(&["python3"]),
    case(
        "Python shutil.rmtree",
        r#"python3 -c 'import shutil,sys; shutil.rmtree(sys.argv[1])' "$D""#,
    )
    .needs(&["python3"]),
    case(
        "Python open(…, 'w')",
        r#"python3 -c 'import os,sys
for at, _, names in os.walk(sys.argv[1]):
    for name in names: open(os.path.join(at, name), "w").close()' "$D""#,
    )
    .needs(&["python3"]),
    case(
        "Node fs.rmSync",
        r#"node -e 'require("fs").rmSync(process.argv[1], {recursive: true})' "$D""#,
    )
    .needs(&["node"]),
    case(
        "Node fs.promises.unlink, all at once",
        r#"node -e 'const fs = require("fs"), path = require("path");
const all = fs.readdirSync(process.argv[1]).flatMap(d => fs.readdirSync(path.join(process.argv[1], d)).map(f => path.join(process.argv[1], d, f)));
Promise.all(all.map(f => fs.promises.unlink(f)))' "$D""#,
    )
    .needs(&["node"])
    .at_once(4),
    case("rimraf", r#""$T/node_modules/.bin/rimraf" "$D""#)
        .tool("rimraf", "rimraf")
        .at_once(4),
    case("Perl unlink", r#"perl -e 'unlink glob "$ARGV[0]/*/*"' "$D""#).needs(&["perl"]),
    case(
        "Ruby FileUtils.rm_rf",
        r#"ruby -rfileutils -e 'FileUtils.rm_rf ARGV[0]' "$D""#,
    )
    .needs(&["ruby"]),
    case("C unlink", r#""$B" unlink "$D""#),
    case("32-bit code", r#""$B" int80 "$D""#),
    case("io_uring", r#"for d in "$D"/*; do "$U" uring "$d" unlink; done"#).at_once(9).by_requests(),
    case("a program out of a memfd", r#""$B" memory "$D""#),
    case("a static binary", r#"busybox rm -rf "$D""#).needs(&["busybox"]),
    case(
        "setsid and a double fork",
        r#"setsid sh -c '(rm -rf "$1" &)' sh "$D"; while pgrep -f "rm -rf $D" > /dev/null; do :; done"#,
    )
    .needs(&["pgrep"]),
    case("an empty environment", r#"env -i /bin/rm -rf "$D""#),
    case(
        "in namespaces of its own",
        r#"unshare -m -p -f rm -rf "$D""#,
    )
    .needs(&["unshare"]),
    case(
        "in a chroot",
        r#"mkdir -p "$S/root" && mount --bind / "$S/root" && chroot "$S/root" /bin/rm -rf "$D""#,
    )
    .after(r#"umount "$S/root" || true"#),
    case("by /proc/self/root", r#"rm -rf "/proc/self/root$D""#),
    case(
        "by a link in a temporary directory",
        r#"ln -s "$D" "$S/mine" && rm -rf "$S/mine"/*"#,
    ),
    case(
        "by a bind mount in a temporary directory",
        r#"mkdir "$S/mine" && mount --bind "$D" "$S/mine" && rm -rf "$S/mine"/*"#,
    )
    .after(r#"umount "$S/mine" || true"#),
    case("truncate", r#"truncate -s 0 "$D"/*/*"#),
    case(
        "> file",
        r#"for f in "$D"/*/*; do : > "$f"; done"#,
    ),
    case(
        "cp /dev/null",
        r#"for f in "$D"/*/*; do cp /dev/null "$f"; done"#,
    ),
    case(
        "tee, 1,000 files of them at once",
        r#"tee "$D"/0*/* < /dev/null > /dev/null"#,
    )
    .weak("one program holds 1,000 open, emptied, as one does that writes all its files at once: until it closes them, nothing tells the two apart; beyond 1,024 at one time, each counts"),
    case("sed -i d", r#"sed -i d "$D"/*/*"#)
    .judged(),
    case(
        "mv over",
        r#"for f in "$D"/*/*; do echo > "$W/new"; mv -f "$W/new" "$f"; done"#,
    )
    .judged(),
    case(
        "mv each over the first",
        r#"for f in "$D"/*/*; do mv -f "$f" "$W/one"; done"#,
    )
    .judged(),
    case("RENAME_EXCHANGE", r#""$B" exchange "$D""#),
    case("link away and unlink twice", r#""$B" link "$D" "$W""#),
    case("shred", r#"shred "$D"/*/*"#),
    case("shred -u", r#"shred -u "$D"/*/*"#),
    case(
        "dd in place",
        r#"for f in "$D"/*/*; do dd if=/dev/zero of="$f" bs=2k count=1 conv=notrunc status=none; done"#,
    ),
    case(
        "dd of=",
        r#"for f in "$D"/*/*; do dd if=/dev/null of="$f" status=none; done"#,
    ),
    case(
        "tar --remove-files",
        r#"tar -C "$W" -cf "$S/all.tar" --remove-files "$(basename "$D")""#,
    ),
    case("zip -m", r#"zip -qrm "$S/all.zip" "$D""#).needs(&["zip"]),
    case(
        "copy and truncate, as a log is rotated",
        r#"for f in "$D"/*/*; do cp "$f" "$S/old"; : > "$f"; done"#,
    ),
    case(
        "sqlite VACUUM INTO, moved over",
        r#"sqlite3 "$S/db" 'create table t(a)'; for f in "$D"/*/*; do rm -f "$S/new"; sqlite3 "$S/db" "vacuum into '$S/new'"; truncate -s 100 "$S/new"; mv -f "$S/new" "$f"; done"#,
    )
    .needs(&["sqlite3"])
    .judged(),
    case(
        "hole punching",
        r#"for f in "$D"/*/*; do fallocate -p -o 0 -l 4096 "$f"; done"#,
    ),
    case("copy_file_range over", r#""$B" copy-range "$D""#),
    case("mmap and ftruncate", r#""$B" map-cut "$D""#),
    case("mmap alone", r#""$B" map "$D""#)
        .weak("writes through a mapping are not followed; each file's open for writing is recorded"),
    case(
        "slowly, below the short window's limit",
        r#"for f in "$D"/*/*; do rm -f "$f"; sleep 0.02; done"#,
    )
    .guard("window = \"1s\"\nlong_limit = 128\n", 128),
    case(
        "by bytes",
        r#"for f in "$W"/large.*; do rm -f "$f"; done; rm -rf "$D""#,
    )
    .before(r#"for i in 1 2 3 4 5 6 7 8; do head -c 1M /dev/zero > "$W/large.$i"; done"#)
    .guard("bytes = 4194304\n", 64)
    .judged(),
    case(
        "below a protected path",
        r#"rm -rf "$D/17""#,
    )
    .guard("[[guard.protect]]\npath = \"@D@\"\nlimit = 0\n", 1)
    .judged(),
    case(
        "rename of the parent, then rm",
        r#"mv "$D" "$W/elsewhere" && rm -rf "$W/elsewhere""#,
    ),
    case(
        "rename of the parent to `build`, then rm",
        r#"mv "$D" "$W/build" && rm -rf "$W/build""#,
    ),
    case(
        "one by one into `node_modules`, then rm",
        r#"mkdir "$W/node_modules" && mv "$D"/*/* "$W/node_modules/" && rm -rf "$W/node_modules""#,
    ),
    case(
        "a mount over it",
        r#"mount -t tmpfs none "$D""#,
    )
    .after(r#"umount "$D" || true"#),
    case(
        "btrfs subvolume",
        r#"btrfs -q subvolume delete "$W/fs/all""#,
    )
    .before(SUBVOLUME)
    .needs(&["mkfs.btrfs", "btrfs"]),
    case(
        "btrfs subvolume, by a program that no gate knows",
        r#""$B" subvolume "$W/fs" all"#,
    )
    .before(SUBVOLUME)
    .needs(&["mkfs.btrfs", "btrfs"])
    .weak("one call takes them all, and no tracepoint is before it: the session ends after it"),
    case(
        "a file system made over theirs",
        r#"mkfs.ext4 -qF "$(cat "$W/device")""#,
    )
    .before(
        r#"truncate -s 128M "$S/fs.img" && mkfs.ext4 -q "$S/fs.img" && mkdir "$W/fs" && mount -o loop "$S/fs.img" "$W/fs" && mv "$D" "$W/fs/files" && umount "$W/fs" && losetup -f --show "$S/fs.img" > "$W/device""#,
    )
    .after(r#"mount "$(cat "$W/device")" "$W/fs" || true"#)
    .needs(&["mkfs.ext4", "losetup"]),
    case(
        "a device discarded",
        r#"blkdiscard -f "$(cat "$W/device")""#,
    )
    .before(
        r#"truncate -s 128M "$S/fs.img" && mkfs.ext4 -q "$S/fs.img" && mkdir "$W/fs" && mount -o loop "$S/fs.img" "$W/fs" && mv "$D" "$W/fs/files" && umount "$W/fs" && losetup -f --show "$S/fs.img" > "$W/device""#,
    )
    .after(r#"mount "$(cat "$W/device")" "$W/fs" || true"#)
    .needs(&["blkdiscard", "losetup"]),
    case(
        "an overlay's lower files",
        r#"rm -rf "$S/merged"/*"#,
    )
    .before(OVERLAY)
    .look_in("$S/merged"),
    case(
        "mv over an overlay's lower files",
        r#"for f in "$S/merged"/*/*; do echo > "$S/merged/new"; mv -f "$S/merged/new" "$f"; done"#,
    )
    .before(OVERLAY)
    .look_in("$S/merged")
    .judged()
    .weak("a lower file that is replaced passes no tracepoint, and stays what it was below"),
    case(
        "an overlay's upper files",
        r#"rm -rf "$S/merged"/*"#,
    )
    .before(
        r#"mkdir "$S/upper" "$S/merged" && mount -t tmpfs none "$S/upper" && mkdir "$S/upper/l" "$S/upper/w" && mv "$D" "$S/upper/u" && mount -t overlay -o "lowerdir=$S/upper/l,upperdir=$S/upper/u,workdir=$S/upper/w" none "$S/merged""#,
    )
    .look_in("$S/merged"),
];
