package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
	"github.com/handfast/handfast/certs"
)

// The test binary is its own victim: with these variables set it is a process that issues
// and says on standard output what was acknowledged, one line in one write.
const (
	victimMode   = "HANDFAST_TEST_VICTIM"
	victimLedger = "HANDFAST_TEST_LEDGER"
	victimFrom   = "HANDFAST_TEST_FROM"
)

func TestMain(m *testing.M) {
	switch os.Getenv(victimMode) {
	case "load":
		exit(load(os.Getenv(victimLedger), os.Getenv(victimFrom)))
	case "sequence":
		exit(sequence(os.Getenv(victimLedger)))
	default:
		os.Exit(m.Run())
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// load issues for ever on 16 goroutines. Each token is tried by two of them, and from some
// before where the last victim stopped; each fourth certificate is revoked.
func load(path, from string) error {
	store, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		return err
	}
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return err
	}
	var next atomic.Int64
	failed := make(chan error)
	for range 16 {
		go func() {
			for {
				n := next.Add(1) - 1
				if err := issueAndSay(store, first+n/2, n%8 < 2); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func issueAndSay(store *sqlite.Store, token int64, revoke bool) error {
	ctx, c := context.Background(), storetest.Certificate("a")
	c.By = fmt.Sprintf("token-%d", token)
	_, _, err := store.RecordIssuance(ctx, ca.Issuance{Certificate: c, OneTime: &ca.OneTime{ID: c.By, ExpiresAt: c.NotAfter}})
	if errors.Is(err, ca.ErrTokenUsed) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Printf("issued %s %d\n", c.Serial, token); err != nil || !revoke {
		return err
	}
	if _, err := store.Revoke(ctx, ca.RevokeSelection{Serial: c.Serial}, certs.KeyCompromise, c.IssuedAt, "x", false); err != nil {
		return err
	}
	_, err = fmt.Printf("revoked %s %d\n", c.Serial, token)
	return err
}

// sequence issues one after the other and says what became of each.
func sequence(path string) error {
	store, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		return err
	}
	for range 10 {
		c := storetest.Certificate("a")
		_, _, err := store.RecordIssuance(context.Background(), ca.Issuance{Certificate: c})
		if err != nil {
			_, err = fmt.Printf("failed %s %v\n", c.Serial, err)
		} else {
			_, err = fmt.Printf("issued %s 0\n", c.Serial)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func victim(t *testing.T, mode, path string, from int64, wrapper ...string) *exec.Cmd {
	t.Helper()
	args := slices.Concat(wrapper, []string{os.Args[0], "-test.run=^$"})
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), victimMode+"="+mode, victimLedger+"="+path, victimFrom+"="+strconv.FormatInt(from, 10))
	return cmd
}
