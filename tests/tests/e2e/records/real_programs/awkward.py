"""Does with files what programs seldom do. Runs in an empty folder."""

import ctypes
import os
import threading

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
# Numbers of x86-64.
OPENAT, LINKAT, FCHMODAT, RENAMEAT2, OPENAT2, FCHOWNAT, CREAT = 257, 265, 268, 316, 437, 260, 85


def attempt(call, *arguments, **named):
    """Success or failure: both are acts."""
    try:
        return call(*arguments, **named)
    except OSError:
        return None


def syscall(number, *arguments):
    return libc.syscall(number, *arguments)


os.makedirs("real/deep/er")
os.symlink("real", "link")
os.symlink("link/deep", "far")
os.symlink(os.path.abspath("real"), "absolute")
os.symlink("loop", "loop")
os.symlink("nowhere/at/all", "dangling")
os.symlink("target", "to_be_made")

for path in ["link/a", "far/../b", "absolute/deep/./c", "./real//deep/er/../d", "far/er/e"]:
    with open(path, "x") as file:
        file.write("x")
    os.chmod(path, 0o640)
    os.chown(path, 1, -1)
    os.truncate(path, 7)
    with open(path) as file:
        file.read()

# What leads nowhere, or round and round.
for path in ["loop", "loop/x", "dangling", "dangling/x", "gone/../real/x", "real/deep/gone", "real/deep/er/e/x", "", "/", ".", ".."]:
    attempt(os.open, path, os.O_RDONLY)
    attempt(os.open, path, os.O_RDWR | os.O_NOFOLLOW)
    attempt(os.open, path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    attempt(os.mkdir, path, 0o700)
    attempt(os.rmdir, path)
    attempt(os.unlink, path)
    attempt(os.chmod, path, 0o755) if path not in ["/", ".", ".."] else None
    attempt(os.truncate, path, 1)
    attempt(os.rename, path, "real")
    attempt(os.chdir, path) if path in ["loop", "dangling", "gone/../real/x"] else None
    attempt(os.setxattr, path, "user.none", b"x") if path not in ["/", ".", ".."] else None

# A link is not what it leads to.
attempt(os.symlink, "x", "link")
os.lchown("link", 3, 4)
os.chown("link", 5, 6)
os.chown("link", 7, 8, follow_symlinks=False)
attempt(os.mkdir, "link", 0o700)
attempt(os.rmdir, "link")
os.close(os.open("to_be_made", os.O_WRONLY | os.O_CREAT, 0o600))
os.close(os.open("to_be_made", os.O_WRONLY | os.O_CREAT, 0o600))
attempt(os.open, "to_be_made", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
os.unlink("to_be_made")
syscall(LINKAT, AT_FDCWD, b"dangling", AT_FDCWD, b"dangling2", 0)
syscall(LINKAT, AT_FDCWD, b"dangling", AT_FDCWD, b"dangling3", 0x400)
syscall(LINKAT, AT_FDCWD, b"absolute/a", AT_FDCWD, b"hard", 0x400)

# By directory, by descriptor, through procfs.
deep = os.open("far", os.O_RDONLY | os.O_DIRECTORY)
file = os.open("by_descriptor", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=deep)
os.mkdir("sub/", 0o711, dir_fd=deep)
os.rename("by_descriptor", "sub/moved", src_dir_fd=deep, dst_dir_fd=deep)
os.ftruncate(file, 100)
os.fchmod(file, 0o444)
os.fchown(file, 9, 10)
attempt(os.setxattr, file, "user.attribute", b"value")
attempt(os.removexattr, file, "user.attribute")
attempt(os.removexattr, "link/a", "user.attribute")
os.chmod(f"/proc/self/fd/{file}", 0o600)
os.truncate(f"/proc/self/fd/{file}", 5)
os.chmod(f"/proc/{os.getpid()}/fd/{file}", 0o640)
attempt(os.unlink, f"/proc/self/fd/{file}")
attempt(os.open, f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600)
attempt(os.open, "/proc/self/nothing", os.O_RDONLY)
attempt(os.open, "/proc/thread-self/nothing", os.O_RDONLY)
attempt(os.open, "/proc/self/fd/999", os.O_RDONLY)
attempt(os.chmod, "/proc/self/fd/999", 0o600)
os.close(os.open(f"/proc/self/fd/{file}", os.O_RDONLY))
nameless = os.open("real", os.O_RDWR | os.O_TMPFILE, 0o600)
syscall(LINKAT, AT_FDCWD, f"/proc/self/fd/{nameless}".encode(), AT_FDCWD, b"named", 0x400)
os.fchmod(nameless, 0o640)
os.unlink("far/sub/moved")
os.ftruncate(file, 3)
os.fchmod(file, 0o400)
os.rmdir("sub", dir_fd=deep)
attempt(os.ftruncate, 999, 1)
attempt(os.fchmod, 999, 0o600)
attempt(os.mkdir, "x", 0o700, dir_fd=999)
attempt(os.mkdir, os.path.abspath("by_absolute"), 0o700, dir_fd=999)
attempt(os.mkdir, "x", 0o700, dir_fd=file)
syscall(FCHOWNAT, deep, b"", 11, 12, 0x1000)
syscall(LINKAT, nameless, b"", AT_FDCWD, b"named2", 0x1000)

# Each its own way in.
syscall(CREAT, b"created", 0o604)
syscall(OPENAT, AT_FDCWD, b"not_there", os.O_RDONLY, 0o777)
syscall(OPENAT2, deep, b"er/../made", (ctypes.c_uint64 * 3)(os.O_RDWR | os.O_CREAT, 0o640, 0), 24)
syscall(OPENAT2, deep, b"../../created", (ctypes.c_uint64 * 3)(os.O_RDWR, 0, 8), 24)
os.mkdir("one")
os.mkdir("other")
syscall(RENAMEAT2, AT_FDCWD, b"one", AT_FDCWD, b"other", 2)
syscall(RENAMEAT2, AT_FDCWD, b"one", AT_FDCWD, b"link/a", 1)
os.rename("other", "one")
os.rename("far/er", "one/er")
os.rename("one/er/../er/e", "link/deep/e")
os.mkfifo("pipe", 0o600)
os.mknod("far/node", 0o600)

# Bytes that are no text, and names as long as they can be.
os.mkdir(b"\xff\xfe")
os.close(os.open(b"\xff\xfe/\x01\n\"<>, \xe9", os.O_WRONLY | os.O_CREAT, 0o600))
os.symlink(b"\xff\xfe", b"\x80")
os.unlink(b"\x80/\x01\n\"<>, \xe9")
os.mkdir("n" * 255)
attempt(os.mkdir, "n" * 256)
attempt(os.mkdir, "n/" * 2000)
attempt(os.mkdir, "./" * 2000 + "dots")

# Names that were there only for a moment.
for turn in range(20):
    os.mkdir(f"short{turn}")
    os.symlink(f"short{turn}", "way")
    os.close(os.open("way/file", os.O_WRONLY | os.O_CREAT, 0o600))
    os.chmod("way/file", 0o640)
    os.rename("way/file", "way/renamed")
    os.unlink("way/renamed")
    os.unlink("way")
    os.rmdir(f"short{turn}")

# Directories that became links to others as soon as they were used.
for turn in range(20):
    os.mkdir(f"turn{turn}")
    os.close(os.open(f"turn{turn}/file", os.O_WRONLY | os.O_CREAT, 0o600))
    os.chmod(f"turn{turn}/file", 0o640)
    os.unlink(f"turn{turn}/file")
    os.rmdir(f"turn{turn}")
    os.symlink("real", f"turn{turn}")

# A directory that is gone, and one elsewhere.
os.mkdir("here")
os.chdir("here")
os.rmdir("../here")
attempt(os.mkdir, "x")
attempt(os.open, "x", os.O_RDONLY)
os.chdir("..") if os.path.exists("..") else os.fchdir(deep)
os.fchdir(deep)
os.mkdir("../from_deep")
os.chdir("/")
attempt(os.mkdir, "tmp")
os.fchdir(deep)


def in_a_thread():
    os.mkdir("by_a_thread")
    os.close(os.open("by_a_thread/file", os.O_WRONLY | os.O_CREAT, 0o600))


thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()

# Programs that are none.
attempt(os.execv, "by_a_thread/file", ["x"])
syscall(59, b"nothing", (ctypes.c_char_p * 1)(None), None)
attempt(os.execv, "nothing", ["a" * 300, "b"])
attempt(os.execv, "nothing", [str(number) for number in range(50)])
child = os.fork()
if child == 0:
    os.mkdir("by_a_child")
    os.abort()
os.waitpid(child, 0)
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork() == 0:
        os.mkdir("by_a_grandchild")
        os._exit(7)
    os._exit(3)
os.waitpid(child, 0)
