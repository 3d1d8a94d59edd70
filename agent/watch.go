package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/handfast/handfast/agent/holder"
)

// errOver ends a round whose certificate has expired.
var errOver = errors.New("the certificate has expired")

// watch keeps policy, roots and revocation up to date until ctx ends. Each round belongs
// to one certificate: a rotation ends it, because a connection shows the certificate
// that it was made with.
func (a *Agent) watch(ctx context.Context) {
	for ctx.Err() == nil {
		changed := a.Changed()
		cred := a.credential()
		if cred == nil || !a.now().Before(cred.notAfter()) {
			waitChange(ctx, changed, clockCheck) // the clock may be corrected
			continue
		}
		if !a.round(ctx, cred) {
			waitChange(ctx, changed, again)
		}
	}
}

// round follows the CA with cred's certificate until that is replaced or expires. It reports false when there is no
// way to the CA.
func (a *Agent) round(ctx context.Context, cred *credential) bool {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	expiry := time.AfterFunc(cred.notAfter().Sub(a.now()), func() { end(errOver) })
	defer expiry.Stop()
	client, err := a.caSession(cred)
	if err != nil {
		a.fail("watch", err, again)
		return false
	}
	a.mu.Lock()
	feed, current := a.feed, a.cred == cred || a.cred.serial == cred.serial
	a.endRound = func() { end(holder.ErrReconnect) }
	a.mu.Unlock()
	if !current {
		return true // rotated meanwhile
	}
	var group sync.WaitGroup
	group.Go(func() { a.followState(ctx, client, cred) })
	group.Go(func() { feed.Run(ctx, connection{client, a.id}) })
	group.Go(func() { a.answerQuestions(ctx, client) })
	if a.fullCRLs {
		group.Go(func() { a.followCRLs(ctx, client) })
	}
	group.Wait()
	return true
}
