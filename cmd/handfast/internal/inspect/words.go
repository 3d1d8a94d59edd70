package inspect

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/revstatus"
)

// shownRevoked is how many entries of a CRL the text shows.
const shownRevoked = 10

// writer writes a report in words.
type writer struct {
	w     io.Writer
	style output.Style
	now   time.Time
	blank bool // something was written, so a blank line comes first
}

// WriteText writes r for a person, with times relative to now.
func (r *Report) WriteText(w io.Writer, style output.Style, now time.Time) error {
	out := &writer{w: w, style: style, now: now}
	if r.TLS != nil {
		if err := out.section("connection to "+r.Target, r.tlsFields()); err != nil {
			return err
		}
	}
	if r.Ledger != nil {
		if err := out.section("in the CA's ledger", r.ledgerFields(now)); err != nil {
			return err
		}
	}
	for n := range r.Certificates {
		title := r.Certificates[n].title()
		if len(r.Certificates) > 1 {
			title = fmt.Sprintf("%d. %s", n+1, title)
		}
		if err := out.section(title, out.certificate(r, n)); err != nil {
			return err
		}
	}
	for _, request := range r.Requests {
		if err := out.section("certificate request", out.request(request)); err != nil {
			return err
		}
	}
	for _, crl := range r.CRLs {
		if err := out.section("certificate revocation list", out.crl(crl)); err != nil {
			return err
		}
	}
	for _, key := range r.PrivateKeys {
		var f output.Fields
		f.Add("key", key.Algorithm)
		f.Add("public key SHA-256", key.SHA256)
		if err := out.section("private key (not shown)", f); err != nil {
			return err
		}
	}
	return nil
}

func (out *writer) section(title string, f output.Fields) error {
	lead := ""
	if out.blank {
		lead = "\n"
	}
	out.blank = true
	if _, err := io.WriteString(out.w, lead+output.Clean(title)+"\n"); err != nil {
		return err
	}
	return f.Write(out.w, "  ")
}

func (c *Certificate) title() string {
	switch {
	case c.SelfSigned && c.CA:
		return "root certificate"
	case c.CA:
		return "CA certificate"
	default:
		return "certificate"
	}
}

func (r *Report) tlsFields() output.Fields {
	var f output.Fields
	f.Add("version", r.TLS.Version)
	f.Add("cipher suite", r.TLS.CipherSuite)
	f.Add("key exchange", r.TLS.KeyExchange)
	f.Add("protocol", output.Clean(r.TLS.Protocol))
	f.Add("client certificate", choose(r.TLS.ClientWanted, "wanted", "not asked for"))
	f.Add("OCSP response", choose(r.TLS.Stapled, "stapled", "not stapled"))
	return f
}

func (r *Report) ledgerFields(now time.Time) output.Fields {
	var f output.Fields
	row := r.Ledger
	f.Add("status", output.Clean(row.Status))
	if row.RevokedAt != nil {
		f.Add("revoked", output.Moment(*row.RevokedAt, now)+", "+output.Clean(row.Reason))
	}
	f.Add("kind", output.Clean(row.Kind))
	f.Add("service", output.Clean(row.Service))
	f.Add("profile", output.Clean(row.Profile))
	f.Add("issued", output.Moment(row.IssuedAt, now)+", by "+output.Clean(row.Method))
	return f
}

func (out *writer) certificate(r *Report, n int) output.Fields {
	c := &r.Certificates[n]
	var f output.Fields
	f.Add("SPIFFE ID", output.Clean(c.ID))
	f.Add("subject", output.Clean(c.Subject))
	f.Add("DNS names", list(c.DNSNames))
	f.Add("IP addresses", list(c.IPs))
	f.Add("e-mail addresses", list(c.Emails))
	f.Add("URIs", list(c.URIs))
	f.Add("validity", out.validity(c))
	f.Add("issued by", output.Clean(c.Issuer)+r.chainWords(n))
	if c.PathLength != nil {
		f.Add("path length", fmt.Sprint(*c.PathLength))
	}
	f.Add("serial", c.Serial)
	f.Add("key", c.Key.Algorithm)
	f.Add("key usage", list(append(append([]string{}, c.KeyUsage...), c.ExtKeyUsage...)))
	f.Add("signature", c.Signature)
	f.Add("SHA-256", c.SHA256)
	f.Add("SHA-1", c.SHA1)
	f.Add("public key SHA-256", c.Key.SHA256)
	if c.MustStaple {
		f.Add("staple", "demanded: whoever shows it has to staple an OCSP response (RFC 7633)")
	}
	if c.NoRevAvail {
		f.Add("revocation", "nothing is published about it: it is short-lived (noRevAvail, RFC 9608)")
	}
	f.Add("OCSP says", out.answer(c.OCSP, "OCSP responder"))
	f.Add("CRL says", out.answer(c.CRL, "CRL"))
	return f
}

func (out *writer) validity(c *Certificate) string {
	span := fmt.Sprintf("from %s to %s", output.Stamp(c.NotBefore), output.Stamp(c.NotAfter))
	switch c.Validity {
	case expired:
		return out.style.Paint(output.Red, "expired "+output.Ago(c.NotAfter, out.now)) + "\n" + span
	case notYetValid:
		return out.style.Paint(output.Yellow, "not valid yet, begins "+output.Ago(c.NotBefore, out.now)) + "\n" + span
	default:
		return out.style.Paint(output.Green, "valid, expires "+output.Ago(c.NotAfter, out.now)) + "\n" + span
	}
}

// chainWords says which certificate of the report signed the n-th.
func (r *Report) chainWords(n int) string {
	c := &r.Certificates[n]
	if c.SelfSigned {
		return " (itself)"
	}
	if c.SignedBy == "" {
		return " (whose certificate is not at hand)"
	}
	for i := range r.Certificates {
		if r.Certificates[i].SHA256 == c.SignedBy {
			return fmt.Sprintf(" (certificate %d here; the signature holds)", i+1)
		}
	}
	return " (known from the context; the signature holds)"
}

func (out *writer) answer(a *revstatus.Answer, source string) string {
	if a == nil {
		return ""
	}
	where := "\nat " + output.Clean(a.URL)
	if a.ThisUpdate != nil {
		where += fmt.Sprintf(", as of %s", output.Ago(*a.ThisUpdate, out.now))
	}
	if a.Number != "" {
		where += ", CRL number " + a.Number
	}
	switch a.Status {
	case revstatus.Good:
		return out.style.Paint(output.Green, "not revoked") + where
	case revstatus.Revoked:
		text := "revoked"
		if a.RevokedAt != nil {
			text += " " + output.Moment(*a.RevokedAt, out.now)
		}
		return out.style.Paint(output.Red, text) + ", reason " + output.Clean(a.Reason) + where
	case revstatus.Unknown:
		return out.style.Paint(output.Yellow, "the responder does not know this certificate") + where
	case revstatus.NotNamed:
		return "nothing: the certificate names no " + source
	default:
		text := out.style.Paint(output.Yellow, "no answer: "+output.Clean(a.Problem))
		if a.URL == "" {
			return text
		}
		return text + where
	}
}

func (out *writer) request(r Request) output.Fields {
	var f output.Fields
	f.Add("subject", output.Clean(r.Subject))
	f.Add("DNS names", list(r.DNSNames))
	f.Add("IP addresses", list(r.IPs))
	f.Add("URIs", list(r.URIs))
	f.Add("key", r.Key.Algorithm)
	f.Add("public key SHA-256", r.Key.SHA256)
	f.Add("signature", r.Signature)
	f.Add("possession", choose(r.Possession, "proved: signed by its own key", "NOT proved: the signature does not hold"))
	if r.Subject != "" || len(r.DNSNames)+len(r.IPs)+len(r.URIs) > 0 {
		f.Add("note", "Handfast takes the key only; what a certificate names is decided by the CA")
	}
	return f
}

func (out *writer) crl(c CRL) output.Fields {
	var f output.Fields
	f.Add("issued by", output.Clean(c.Issuer))
	f.Add("number", c.Number)
	f.Add("kind", choose(c.Delta, "delta", choose(c.Partition, "a partition", "full")))
	f.Add("made", output.Moment(c.ThisUpdate, out.now))
	next := output.Moment(c.NextUpdate, out.now)
	if c.Stale {
		next = out.style.Paint(output.Red, "stale: the next one was due "+next)
	}
	f.Add("next", next)
	f.Add("signature", c.Signature)
	f.Add("entries", fmt.Sprint(c.Entries))
	var lines []string
	for _, entry := range c.Revoked[:min(shownRevoked, len(c.Revoked))] {
		lines = append(lines, fmt.Sprintf("%s  %s  %s", entry.Serial, output.Stamp(entry.At), entry.Reason))
	}
	if more := c.Entries - len(lines); more > 0 && len(lines) > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	f.Add("revoked", strings.Join(lines, "\n"))
	return f
}

func list(items []string) string { return output.Clean(strings.Join(items, ", ")) }

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}
