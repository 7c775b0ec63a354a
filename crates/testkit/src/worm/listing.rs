//! Lists of blobs, with what keeps each.

use super::rules::Kept;

/// Returns the answer to a list with what keeps each blob in it, as the service writes it.
pub(super) fn with_kept(
    xml: &str,
    (policies, holds): (bool, bool),
    kept: impl Fn(&str) -> Kept,
) -> String {
    let mut parts = xml.split("<Blob>");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told.push_str("<Blob>");
        let name = between(part, "<Name>", "</Name>").map(unescaped);
        let kept = name.map(|name| kept(&name)).unwrap_or_default();
        let mut more = String::new();
        if let Some(policy) = kept.policy.filter(|_| policies) {
            more = format!(
                "<ImmutabilityPolicyUntilDate>{}</ImmutabilityPolicyUntilDate>\
                 <ImmutabilityPolicyMode>{}</ImmutabilityPolicyMode>",
                policy.until.format("%a, %d %b %Y %H:%M:%S GMT"),
                policy.mode.as_str()
            );
        }
        if holds && kept.is_held {
            more.push_str("<LegalHold>true</LegalHold>");
        }
        match part.split_once("</Properties>") {
            None => told.push_str(part),
            Some((before, after)) => {
                for text in [before, more.as_str(), "</Properties>", after] {
                    told.push_str(text);
                }
            }
        }
    }
    told
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Mode, Policy};
    use super::*;

    #[test]
    fn each_blob_is_told_with_what_keeps_it() {
        let xml = "<Blobs><Blob><Name>a&amp;b</Name><Properties><Etag>1</Etag></Properties></Blob>\
                   <Blob><Name>c</Name><Properties></Properties></Blob></Blobs>";
        let policy = Policy {
            until: "2026-01-09T00:00:00Z".parse().unwrap(),
            mode: Mode::Locked,
        };
        let kept = |name: &str| match name {
            "a&b" => Kept {
                policy: Some(policy),
                is_held: true,
            },
            _ => Kept::default(),
        };
        let told = with_kept(xml, (true, true), kept);
        assert_eq!(
            told,
            "<Blobs><Blob><Name>a&amp;b</Name><Properties><Etag>1</Etag>\
             <ImmutabilityPolicyUntilDate>Fri, 09 Jan 2026 00:00:00 GMT</ImmutabilityPolicyUntilDate>\
             <ImmutabilityPolicyMode>locked</ImmutabilityPolicyMode><LegalHold>true</LegalHold>\
             </Properties></Blob><Blob><Name>c</Name><Properties></Properties></Blob></Blobs>"
        );
        assert_eq!(with_kept(xml, (false, false), kept), xml);
    }
}
