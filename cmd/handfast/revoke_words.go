package main

import (
	"fmt"
	"strings"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

// subject names what is meant, after "revoke".
func (o *revokeOptions) subject(request *api.RevokeRequest) string {
	if o.issuer != "" {
		return "the issuing CA " + o.issuer + " and with it everything that it signed"
	}
	return "every live certificate" + o.target(request)
}

// question says what would happen when that is more than one certificate's end; "" is not worth asking.
func (o *revokeOptions) question(would *api.RevokeResult, words deed, request *api.RevokeRequest) string {
	switch n := hit(would); {
	case o.issuer != "" && n > 0:
		return fmt.Sprintf("This revokes the issuing CA %s, for good, and takes %s away that it signed, operators' among them: your own credential may end with it.",
			o.issuer, plural(would.Affected, "live certificate"))
	case n > 1:
		return fmt.Sprintf("This "+words.question+".", n, o.target(request))
	default:
		return ""
	}
}

// target names what is meant, after "certificates".
func (o *revokeOptions) target(request *api.RevokeRequest) string {
	text := " of " + o.service + o.id
	if o.all {
		text = " of every service"
	}
	if !request.IssuedBefore.IsZero() {
		text += ", issued before " + output.Stamp(request.IssuedBefore)
	}
	return text
}

// maxPreview is how many certificates a person is shown before the question.
const maxPreview = 20

func (a *app) preview(would *api.RevokeResult) error {
	shown := would.Revoked[:min(len(would.Revoked), maxPreview)]
	if err := certificateGrid(shown, false, a.now()).Write(a.stderr, a.errStyle); err != nil {
		return err
	}
	if rest := hit(would) - len(shown); rest > 0 {
		a.note(fmt.Sprintf("and %d more: --dry-run -o json lists them", rest))
	}
	return nil
}

// hit is how many certificates a result is about; it lists the first thousand.
func hit(r *api.RevokeResult) int { return max(r.Total, len(r.Revoked)) }

// deed is how people talk of what was asked for.
type deed struct{ imperative, question, done, would, already string }

func deedOf(reason certs.Reason) deed {
	switch reason {
	case certs.CertificateHold:
		return deed{"hold", "puts %d live certificates%s on hold", "put on hold", "would be put on hold", "already on hold or revoked"}
	case certs.RemoveFromCRL:
		return deed{"release", "releases %d certificates%s from hold", "released", "would be released", "already released or revoked for good"}
	default:
		return deed{"revoke", "revokes %d live certificates%s, for good", "revoked", "would be revoked", "already revoked before"}
	}
}

func (a *app) writeRevoked(r *api.RevokeResult, words deed, format output.Format) error {
	if len(r.Revoked) > 0 {
		if err := certificateGrid(r.Revoked, format == output.Wide, a.now()).Write(a.stdout, a.outStyle); err != nil {
			return err
		}
	}
	verb := words.done
	if r.DryRun {
		verb = words.would + " (a dry run: nothing was changed)"
	}
	text := fmt.Sprintf("%s %s", plural(hit(r), "certificate"), verb)
	if rest := hit(r) - len(r.Revoked); rest > 0 {
		text += fmt.Sprintf(" (the first %d are listed)", len(r.Revoked))
	}
	if n := len(r.Already); n > 0 {
		text += fmt.Sprintf(", %d %s", n, words.already)
	}
	if r.Affected > 0 {
		text += fmt.Sprintf("; with that CA's go %s that it signed", plural(r.Affected, "live certificate"))
	}
	return a.say("%s", text)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
