// Package forge tries to obtain a signature over a draft that was not checked. No
// line marked REFUSED may compile; TestUncheckedDraftCannotBeSigned sees to it.
package forge

import "github.com/handfast/handfast/issuer"

func forge(i *issuer.Issuer, p *issuer.Profile, draft issuer.Draft, checked issuer.Checked) {
	i.Sign(draft)                          // REFUSED: a draft is no checked one
	i.Sign(issuer.Checked(draft))          // REFUSED: nor can it be converted
	i.Sign(issuer.Checked{draft: &draft})  // REFUSED: nor wrapped
	i.Sign(issuer.Checked{&draft})         // REFUSED: nor wrapped by position
	checked.draft = &draft                 // REFUSED: nor swapped in
	draft.tbs = nil                        // REFUSED: nor the bytes changed
	_ = issuer.PublicKey{spki: []byte{1}}  // REFUSED: a key comes from a check only
	_ = issuer.Profile{config: p.Config()} // REFUSED: a profile comes from Compile only
	_ = issuer.Draft{profile: p, tbs: nil} // REFUSED: a draft comes from a profile only
	i.SignTBS(nil)                         // REFUSED: there is no such door
	_ = i.Signer()                         // REFUSED: nor a way to the key
}
