// SPDX-License-Identifier: GPL-2.0-or-later
//
// LD_PRELOAD library that counts the calls of malloc(), calloc() and realloc(), new in C++ included, as a 64-bit number in the file
// of 8 bytes that ALLOCATIONS names. Compiled by the test that needs it.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);

static uint64_t before;
static uint64_t* count = &before;

__attribute__((constructor)) static void open_count(void) {
  const char* path = getenv("ALLOCATIONS");
  const int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void* data = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (data != MAP_FAILED) count = data;
}

void* malloc(size_t size) {
  ++*count;
  return __libc_malloc(size);
}

void* calloc(size_t number, size_t size) {
  ++*count;
  return __libc_calloc(number, size);
}

void* realloc(void* old, size_t size) {
  ++*count;
  return __libc_realloc(old, size);
}
