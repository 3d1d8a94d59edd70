package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/store/sqlite"
)

const restoreLong = `restore makes DIR/ledger.db out of a copy that backup made. The daemon must be stopped, and what
is left of the old ledger (ledger.db, ledger.db-wal and ledger.db-shm) moved away: nothing is ever
overwritten, and what is left may still tell what happened after the backup. The numbers of CRLs go
on far above the copy's, because relying parties refuse a CRL whose number falls.

What happened after the backup is not in it: see what restore prints, and docs/operations.md.`

func newRestoreCommand(env *environment) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: "restore", Short: "Make the ledger out of a backup", Long: restoreLong, Args: noArguments,
		Example: "  handfast-ca restore --dir D --from /backup/ledger-2026-11-23.db",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := required(cmd, "from"); err != nil {
				return err
			}
			// The directory must be a CA's: beside foreign keys the ledger would be of no use.
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			release, err := cfg.Dir.Lock()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, release()) }()
			if _, err := os.Lstat(cfg.Dir.Ledger()); err == nil {
				return fmt.Errorf("%s: %w; nothing is ever overwritten: move it away first, together with its -wal and -shm", cfg.Dir.Ledger(), fs.ErrExist)
			}
			if err := sqlite.Restore(cmd.Context(), from, cfg.Dir.Ledger()); err != nil {
				return err
			}
			env.explainRestore(cfg, from)
			return nil
		},
	}
	addDir(cmd)
	cmd.Flags().StringVar(&from, "from", "", "`file` that backup made")
	return cmd
}

// explainRestore says what the copy cannot know, in the order in which to act on it.
func (env *environment) explainRestore(cfg *home.Config, from string) {
	env.printf(`%[1]s: restored from %[2]s; the numbers of CRLs go on above all that were published.

What happened after that backup is not in it. Next:
  1. Wait until the tokens made before now have expired: one that was used after the backup would
     work once more. That takes %[3]v (enrolment.token_ttl), or %[4]v if tokens with longer
     lives were made or platforms may enrol.
  2. handfast-ca serve --dir %[5]s
  3. Revoke again what was revoked after the backup; the daemon's old log names it:
       handfast revoke --cert FILE        (also one that this ledger has never seen)
       handfast revoke --serial SERIAL    (one that was issued before the backup)
  4. Register again the services and operators that were added or changed after it (handfast
     service apply FILE), and remove again those that were removed.
  5. Agents whose certificates the CA now calls unknown enrol again with a new token.
`, cfg.Dir.Ledger(), from, cfg.TokenTTL, enroll.MaxTokenTTL, cfg.Dir)
}
