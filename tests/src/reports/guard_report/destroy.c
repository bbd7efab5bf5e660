/* The ways of destroying that take a program of their own: destroy HOW DIRECTORY [SCRATCH],
 * or destroy subvolume DIRECTORY NAME.
 *
 * Works through the files below DIRECTORY one by one; ends at the first error but goes on
 * past single files that it may not touch. Built with the C compiler at hand. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *how;
static const char *scratch;
static off_t length;

static int through_int80(const char *path)
{
    /* The caller of int 0x80 has pointers of 32 bits. */
    static char *low;
    if (!low) {
        low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (low == MAP_FAILED)
            return -1;
    }
    strncpy(low, path, 4095);
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "0"(10L), "b"((uint32_t)(uintptr_t)low)
                     : "memory", "r8", "r9", "r10", "r11");
    return result < 0 ? -1 : 0;
}

static int in_a_child(const char *path)
{
    pid_t child = fork();
    if (child == 0)
        _exit(unlink(path));
    return child < 0 || waitpid(child, NULL, 0) < 0 ? -1 : 0;
}

static int map_over(const char *path, int then_cut)
{
    int fd = open(path, O_RDWR);
    if (fd < 0)
        return -1;
    void *map = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) {
        memset(map, 0, (size_t)length);
        munmap(map, (size_t)length);
    }
    if (then_cut && ftruncate(fd, 0))
        perror(path);
    return close(fd);
}

static int copy_over(const char *path)
{
    int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_WRONLY);
    loff_t start = 4096;
    if (from < 0 || to < 0 || copy_file_range(from, &start, to, NULL, (size_t)length, 0) < 0) {
        /* Not across these file systems: sendfile(2) writes as much. */
        if (to >= 0 && lseek(to, 0, SEEK_SET) == 0 && lseek(from, 4096, SEEK_SET) >= 0) {
            char buffer[4096];
            ssize_t got = read(from, buffer, (size_t)length);
            if (got > 0 && write(to, buffer, (size_t)got) < 0)
                perror(path);
        }
    }
    close(from);
    return close(to);
}

static int exchange(const char *path)
{
    char own[4096];
    snprintf(own, sizeof own, "%s.own", path);
    int fd = open(own, O_CREAT | O_WRONLY, 0600);
    if (fd < 0)
        return -1;
    close(fd);
    if (syscall(SYS_renameat2, AT_FDCWD, own, AT_FDCWD, path, RENAME_EXCHANGE))
        return -1;
    return unlink(own);
}

static int link_away(const char *path)
{
    char other[4096];
    snprintf(other, sizeof other, "%s/%jd", scratch, (intmax_t)getpid());
    if (link(path, other) || unlink(path))
        return -1;
    return unlink(other);
}

static int each(const char *path, const struct stat *about, int kind, struct FTW *at)
{
    (void)at;
    if (kind != FTW_F)
        return 0;
    length = about->st_size;
    int failed;
    if (!strcmp(how, "unlink"))
        failed = unlink(path);
    else if (!strcmp(how, "int80"))
        failed = through_int80(path);
    else if (!strcmp(how, "fork"))
        failed = in_a_child(path);
    else if (!strcmp(how, "map-cut"))
        failed = map_over(path, 1);
    else if (!strcmp(how, "map"))
        failed = map_over(path, 0);
    else if (!strcmp(how, "copy-range"))
        failed = copy_over(path);
    else if (!strcmp(how, "exchange"))
        failed = exchange(path);
    else if (!strcmp(how, "link"))
        failed = link_away(path);
    else
        return -1;
    if (failed)
        fprintf(stderr, "%s %s: %s\n", how, path, strerror(errno));
    return 0;
}

/* Deletes a subvolume of a directory, as btrfs(8) does. */
static int delete_subvolume(const char *directory, const char *name)
{
    struct btrfs_ioctl_vol_args which = {0};
    int fd = open(directory, O_RDONLY | O_DIRECTORY);
    snprintf(which.name, sizeof which.name, "%s", name);
    return fd < 0 ? -1 : ioctl(fd, BTRFS_IOC_SNAP_DESTROY, &which);
}

/* Runs this program again out of memory, without a file. */
static int from_memory(char **arguments)
{
    int self = open("/proc/self/exe", O_RDONLY), memory = memfd_create("x", 0);
    char buffer[65536];
    ssize_t got;
    while ((got = read(self, buffer, sizeof buffer)) > 0)
        if (write(memory, buffer, (size_t)got) != got)
            return -1;
    arguments[1] = "unlink";
    return fexecve(memory, arguments, environ);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    if (!strcmp(arguments[1], "memory"))
        return from_memory(arguments);
    if (!strcmp(arguments[1], "subvolume")) {
        if (count > 3 && delete_subvolume(arguments[2], arguments[3]) == 0)
            return 0;
        perror(arguments[2]);
        return 1;
    }
    how = arguments[1];
    scratch = count > 3 ? arguments[3] : "";
    return nftw(arguments[2], each, 64, FTW_PHYS) ? 1 : 0;
}
