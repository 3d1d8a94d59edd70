// Package sqlite keeps the CA's ledger in one SQLite file: the embedded default.
//
// Durability rests on SQLite's write-ahead log with synchronous=FULL: a commit returns
// after fsync. One goroutine writes; whatever waits while it commits shares the next
// commit, each change in its own savepoint. Reads run beside it on connections of their own.
//
// The file, its -wal and its -shm belong together; copy them with SQLite's backup or while
// nobody has them open.
package sqlite
