// Package fleet knows which agents listen to the revocation feed and how far each has come:
// who enforces a revocation, how long that took, who lags and who is silent.
//
// Times are measured by the CA alone, from the moment a revocation was durable (Note) to the
// arrival of an acknowledgement (Member.Ack), so that nobody's clock but its own counts.
// Nothing here decides who is trusted: an agent that lies about itself lies to a receipt.
//
// An agent is a service's certificate and an ID that the agent made for itself. One
// certificate is one agent and one agent has one connection, so what a service can make
// the CA remember is bounded by the certificates that were issued to it.
package fleet
