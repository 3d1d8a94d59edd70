import java.io.FileInputStream;
import java.net.URI;
import java.security.cert.CRL;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * Validates a chain as a Java relying party does.
 *
 * PathCheck crl|ocsp ROOT CHAIN [CRL...]: prints "valid", or "invalid: REASON".
 */
public class PathCheck {
    public static void main(String[] args) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        X509Certificate root = (X509Certificate) factory.generateCertificate(new FileInputStream(args[1]));
        List<X509Certificate> chain = new ArrayList<>();
        factory.generateCertificates(new FileInputStream(args[2])).forEach(c -> chain.add((X509Certificate) c));
        CertPath path = factory.generateCertPath(chain);

        List<CRL> crls = new ArrayList<>();
        for (int i = 3; i < args.length; i++) {
            crls.add(factory.generateCRL(new FileInputStream(args[i])));
        }

        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        EnumSet<PKIXRevocationChecker.Option> options = EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK);
        if (args[0].equals("crl")) {
            options.add(PKIXRevocationChecker.Option.PREFER_CRLS);
        } else {
            // The root's CRL is no matter of the OCSP responder's.
            options.add(PKIXRevocationChecker.Option.ONLY_END_ENTITY);
        }
        checker.setOptions(options);

        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
        parameters.addCertPathChecker(checker);
        parameters.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(crls)));
        try {
            validator.validate(path, parameters);
            System.out.println("valid");
        } catch (CertPathValidatorException e) {
            System.out.println("invalid: " + e.getReason());
        }
    }
}
