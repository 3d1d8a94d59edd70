package revocation

import "slices"

// Respond answers the DER of an OCSP request as the responder does over HTTP, a failure included: for
// servers in this process, which staple the answer to their own certificate.
func (p *Publisher) Respond(request []byte) []byte {
	reply := p.responder.answer(request, p.config.Now().UTC())
	return slices.Concat(reply.head, reply.tail)
}
