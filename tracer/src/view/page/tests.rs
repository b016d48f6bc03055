use super::{Leads, SCRIPT, STYLE, page};
use crate::{
    model::{
        frame::Frame,
        timeline::Timeline,
        untrusted::{Untrusted, is_harmless},
    },
    view::{fixture, hostile::HOSTILE, picture, timeline::tests::example},
};

fn timeline(name: &str) -> Timeline {
    let mut timeline = example(6);
    timeline.host = Untrusted::from(name);
    for site in &mut timeline.sites {
        site.comm = Some(Untrusted::from(name));
        site.call_site = Some(Frame {
            function: Some(Untrusted::from(name)),
            ..Frame::default()
        });
    }
    timeline
}

fn html(name: &str, leads: Leads) -> String {
    let mut out = Vec::new();
    let mut report = fixture::leaks(name);
    report.host = Untrusted::from(name);
    page(&mut out, &report, &timeline(name), leads).expect("memory");
    String::from_utf8(out).expect("text")
}

fn svg(name: &str) -> String {
    let mut out = Vec::new();
    picture(&mut out, &timeline(name)).expect("memory");
    String::from_utf8(out).expect("text")
}

/// Without what is the same on every page.
fn body(page: &str) -> String {
    page.replace(STYLE, "").replace(SCRIPT, "")
}

#[test]
fn a_page_looks_so() {
    insta::assert_snapshot!("page", body(&html("python3", Leads::Findings)));
}

#[test]
fn a_picture_looks_so() {
    insta::assert_snapshot!("picture", svg("python3"));
}

#[test]
fn the_timeline_leads_where_it_is_asked_to() {
    let page = html("python3", Leads::Timeline);
    let at = |id: &str| page.find(&format!("<section id=\"{id}\""));
    assert!(at("timeline") < at("findings") && at("findings") < at("trace"));
}

/// What marks up a text: no name adds to it.
fn markup(text: &str) -> Vec<char> {
    let marks = text.chars().filter(|c| matches!(c, '<' | '>' | '"' | '\''));
    marks.collect()
}

#[test]
fn no_name_is_markup() {
    let tame = (markup(&html("x", Leads::Findings)), markup(&svg("x")));
    for name in HOSTILE {
        let (page, picture) = (html(name, Leads::Findings), svg(name));
        assert_eq!(markup(&page), tame.0, "{name:?}");
        assert_eq!(markup(&picture), tame.1, "{name:?}");
        for text in [page, picture] {
            let bad = text.chars().find(|&c| c != '\n' && !is_harmless(c));
            assert_eq!(bad, None, "{name:?}");
        }
    }
}

#[test]
fn a_picture_is_well_formed() {
    for name in HOSTILE {
        let text = svg(name);
        let document = roxmltree::Document::parse(&text).expect("XML");
        let groups = document.descendants().filter(|node| node.has_tag_name("g"));
        assert_eq!(groups.count(), 5, "a group for each connection");
    }
}

#[test]
fn nothing_is_fetched() {
    let page = html("python3", Leads::Findings);
    for from_elsewhere in [
        "http:", "https:", "src=", "url(", "@import", "<link", "fetch(",
    ] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
    let picture = svg("python3").replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(!picture.contains("http"), "it names another place");
}

#[test]
fn open_connections_come_first_where_room_is_short() {
    let timeline = example(20);
    let drawn = super::Drawn::new(&timeline, 3);
    let rows: Vec<&str> = drawn.sites[0].rows.iter().map(|bar| bar.state).collect();
    assert_eq!(rows, ["CLOSE_WAIT", "ended", "ended"]);
    let closed = |end: &str| drawn.sites[0].rows.iter().any(|bar| bar.end.ends_with(end));
    assert!(closed(":40002"), "the one that ended last is there");
    assert_eq!((drawn.rows(), drawn.left_out), (3, 16));
    assert_eq!(super::Drawn::new(&timeline, 0).left_out, 19);
}
