package main

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/internal/version"
)

const backupLong = `backup writes a consistent copy of the ledger, also while the daemon runs. Keep it together with
config.yaml, certs, keys and root.crl, and the passphrase somewhere else. To restore, put those
files back and have "handfast-ca restore" make the ledger out of the copy; do not copy it into
place by hand, because the numbers of CRLs would fall behind what was published.`

func newBackupCommand(env *environment) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "backup", Short: "Copy the ledger while it is in use", Long: backupLong, Args: noArguments,
		Example: "  handfast-ca backup --dir D --to /backup/ledger-$(date +%F).db",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "to"); err != nil {
				return err
			}
			dir, err := env.dir(cmd)
			if err != nil {
				return err
			}
			if err := sqlite.Backup(cmd.Context(), dir.Ledger(), to); err != nil {
				return err
			}
			env.printf("%s: a consistent copy of %s, checked\n", to, dir.Ledger())
			return nil
		},
	}
	addDir(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`file` for the copy, new")
	return cmd
}

func newMigrateCommand(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the ledger's schema up to date", Args: noArguments,
		Long:    "migrate does what serve does at its start, so that an upgrade can be prepared: with the daemon\nstopped, back up, migrate, start the new version.",
		Example: "  handfast-ca migrate --dir D",
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := env.dir(cmd)
			if err != nil {
				return err
			}
			release, err := dir.Lock()
			if err != nil {
				return err
			}
			defer release() //nolint:errcheck // the process ends with it
			store, err := sqlite.Open(cmd.Context(), dir.Ledger(), sqlite.Options{})
			if err != nil {
				return err
			}
			if err := store.Close(); err != nil {
				return err
			}
			env.printf("%s: the schema is up to date\n", dir.Ledger())
			return nil
		},
	}
	addDir(cmd)
	return cmd
}

func newVersionCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which build this is", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			env.printf("%s\n", version.Line("handfast-ca"))
			return nil
		},
	}
}

// refuseFile fails when something is at path, before any work is done for it.
func refuseFile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w; nothing is ever overwritten: give another name", path, fs.ErrExist)
	}
	return nil
}
