//! The contact sheet and the HTML page of a sweep.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use txt2img::output::{Axis, Picture, page, sheet};

const WHITE: [u8; 3] = [255; 3];

fn axis(name: &str, values: &[&str]) -> Axis {
    Axis { name: name.to_owned(), values: values.iter().map(|&value| value.to_owned()).collect() }
}

fn numbered(name: &str, n: usize) -> Axis {
    Axis { name: name.to_owned(), values: (1..=n).map(|i| i.to_string()).collect() }
}

fn plain(width: usize, height: usize, rgb: [u8; 3]) -> Picture {
    Picture { width, height, rgb: rgb.repeat(width * height) }
}

/// Returns a colour that differs from paper and ink.
fn colour(i: usize) -> [u8; 3] {
    [250, 10 * i as u8, 0]
}

fn pictures(n: usize, width: usize, height: usize) -> Vec<Picture> {
    (0..n).map(|i| plain(width, height, colour(i))).collect()
}

fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let at = 3 * (y * picture.width + x);
    picture.rgb[at..at + 3].try_into().unwrap()
}

/// Returns the left, top, width and height of the pixels for which `is_it` holds.
fn place(picture: &Picture, is_it: impl Fn([u8; 3]) -> bool) -> Option<[usize; 4]> {
    let all = (0..picture.width * picture.height).map(|i| (i % picture.width, i / picture.width));
    let found: Vec<_> = all.filter(|&(x, y)| is_it(pixel(picture, x, y))).collect();
    let (left, right) = (found.iter().map(|at| at.0).min()?, found.iter().map(|at| at.0).max()?);
    let (top, bottom) = (found.first()?.1, found.last()?.1);
    Some([left, top, right + 1 - left, bottom + 1 - top])
}

#[track_caller]
fn place_of(picture: &Picture, rgb: [u8; 3]) -> [usize; 4] {
    place(picture, |pixel| pixel == rgb).expect("the picture is on the sheet")
}

/// Returns the left, top, width and height of ink within a part of the picture.
fn ink(picture: &Picture, [left, top, width, height]: [usize; 4]) -> Option<[usize; 4]> {
    let rows = (top..top + height).flat_map(|y| (left..left + width).map(move |x| pixel(picture, x, y)));
    let part = Picture { width, height, rgb: rows.flatten().collect() };
    place(&part, |[r, g, b]| r == g && g == b && r < 128)
        .map(|[x, y, width, height]| [left + x, top + y, width, height])
}

mod the_sheet {
    use super::*;

    #[test]
    fn a_picture_has_the_column_of_its_first_value_and_the_row_of_its_second() {
        let (scale, steps) = (axis("scale", &["1", "5", "7.5"]), axis("steps", &["10", "20"]));
        let sheet = sheet("a cat", &scale, Some(&steps), &pictures(6, 128, 96)).unwrap();
        let places: Vec<_> = (0..6).map(|i| place_of(&sheet, colour(i))).collect();
        let [left, top, ..] = places[0];
        for (i, place) in places.into_iter().enumerate() {
            let gap = 96 / 16;
            assert_eq!(place, [left + i % 3 * (128 + gap), top + i / 3 * (96 + gap), 128, 96], "picture {i}");
        }
    }

    #[test]
    fn pictures_are_copied_as_they_are() {
        let rgb: Vec<u8> = (0..3 * 64 * 48).map(|i| (i % 251) as u8).collect();
        let picture = Picture { width: 64, height: 48, rgb };
        let sheet = sheet("", &axis("seed", &["1"]), None, std::slice::from_ref(&picture)).unwrap();
        let margin = sheet.width - 64;
        let (left, top) = (margin / 2, sheet.height - margin / 2 - 48);
        for (x, y) in (0..64 * 48).map(|i| (i % 64, i / 64)) {
            assert_eq!(pixel(&sheet, left + x, top + y), pixel(&picture, x, y), "{x}, {y}");
        }
    }

    #[test]
    fn the_middle_of_a_smaller_picture_is_that_of_its_cell() {
        let (w, h) = (axis("W", &["64", "128"]), axis("H", &["64", "192"]));
        let sizes = [(64, 64), (128, 64), (64, 192), (128, 192), (40, 20)];
        let mut pictures: Vec<_> = sizes.iter().zip(0..).map(|(&(w, h), i)| plain(w, h, colour(i))).collect();
        pictures.swap_remove(1);
        let sheet = sheet("a cat", &w, Some(&h), &pictures).unwrap();
        let [left, top, ..] = place_of(&sheet, colour(0));
        let gap = 8;
        assert_eq!(place_of(&sheet, colour(2)), [left, top + 64 + gap, 64, 192]);
        assert_eq!(place_of(&sheet, colour(3)), [left + 64 + gap, top + 64 + gap, 128, 192]);
        // The cell has 128 x 64 pixels.
        assert_eq!(place_of(&sheet, colour(4)), [left + 64 + gap + 44, top + 22, 40, 20]);
    }

    #[test]
    fn around_the_pictures_there_is_only_paper_and_ink() {
        let (scale, steps) = (axis("scale", &["1", "5"]), axis("steps", &["10", "20"]));
        let mut sheet = sheet("a cat", &scale, Some(&steps), &pictures(4, 128, 128)).unwrap();
        for pixel in sheet.rgb.chunks_exact_mut(3).filter(|pixel| pixel[0] == 250 && pixel[2] == 0) {
            pixel.fill(255);
        }
        assert!(sheet.rgb.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
        let edges = (0..sheet.width).flat_map(|x| [(x, 0), (x, sheet.height - 1)]);
        assert!(edges.into_iter().all(|(x, y)| pixel(&sheet, x, y) == WHITE));
    }

    #[test]
    fn labels_are_above_columns_and_beside_rows_and_the_title_above_all() {
        let (scale, steps) = (axis("scale", &["1", "5"]), axis("steps", &["10", "20"]));
        let sheet = sheet("a cat", &scale, Some(&steps), &pictures(4, 128, 128)).unwrap();
        let [left, top, ..] = place_of(&sheet, colour(0));
        let title = ink(&sheet, [0, 0, sheet.width, top / 2]).expect("a title");
        for i in [0, 1] {
            let [x, y, width, height] = place_of(&sheet, colour(3 * i));
            let above = ink(&sheet, [x, top / 2, width, top - top / 2]).expect("a label above the column");
            assert!((above[0] + above[2] / 2).abs_diff(x + width / 2) <= 2, "{above:?} is above the column's middle");
            assert!(above[1] > title[1] + title[3]);
            let beside = ink(&sheet, [0, y, left, height]).expect("a label beside the row");
            assert!((beside[1] + beside[3] / 2).abs_diff(y + height / 2) <= 4, "{beside:?} is at the row's middle");
        }
    }

    #[test]
    fn a_single_axis_has_no_row_labels() {
        let sheet = sheet("a cat", &axis("scale", &["1", "5"]), None, &pictures(2, 128, 128)).unwrap();
        let [left, top, ..] = place_of(&sheet, colour(0));
        assert_eq!(ink(&sheet, [0, top, left, 128]), None);
        assert_eq!(left, sheet.width - left - 128 - 8 - 128);
    }

    #[test]
    fn without_a_title_there_is_no_line_for_it() {
        let height = |title| sheet(title, &axis("scale", &["1"]), None, &pictures(1, 128, 128)).unwrap().height;
        assert_eq!(height(""), height(" \n"));
        assert!(height("") < height("a cat"));
    }

    #[test]
    fn a_long_title_has_three_lines() {
        let height = |n: usize| {
            let title = ["a very detailed cat"].repeat(n).join(", ");
            sheet(&title, &axis("scale", &["1"]), None, &pictures(1, 256, 256)).unwrap().height
        };
        let line = height(3) - height(1);
        assert!((12..20).contains(&line));
        assert_eq!(height(100) - height(1), 2 * line);
    }

    #[test]
    fn text_grows_with_the_pictures_within_limits() {
        let height = |side| {
            let sheet = sheet("H", &axis("i", &["1"]), None, &[plain(side, side, colour(1))]).unwrap();
            ink(&sheet, [0, 0, sheet.width, place_of(&sheet, colour(1))[1] / 2]).unwrap()[3]
        };
        assert_eq!(height(16), height(256));
        assert!(height(256) < height(512));
        assert!(height(512) < height(768));
        assert_eq!(height(768), height(1024));
    }

    #[test]
    fn a_label_stays_in_its_column() {
        for name in ["a", "a name that is much longer than its column", "Ω", "W".repeat(5000).as_str()] {
            let columns = axis(name, &["1", "a long value that no column of this sheet can hold"]);
            let sheet = sheet("", &columns, None, &[plain(96, 64, colour(0)), plain(96, 64, [0, 250, 0])]).unwrap();
            for [x, y, width, _] in [place_of(&sheet, colour(0)), place_of(&sheet, [0, 250, 0])] {
                assert!(ink(&sheet, [x, 0, width, y]).is_some(), "{name}");
                for beside in [[x - 4, 0, 3, y], [x + width + 1, 0, 3, y]] {
                    assert_eq!(ink(&sheet, beside), None, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_long_row_label_takes_no_more_than_its_share() {
        let width = |label: String| {
            let rows = axis("prompt", &[&label]);
            sheet("", &axis("scale", &["1"]), Some(&rows), &pictures(1, 128, 128)).unwrap().width
        };
        assert_eq!(width("x".repeat(100)), width("x".repeat(10_000)));
        assert!(width("x".repeat(100)) < 128 + 12 * 20);
    }

    #[test]
    fn any_text_can_be_written() {
        let all = ('\0'..'\u{3000}').chain(['\u{fe0f}', '😀', '\u{200d}', '🎨', '\u{e0001}', char::MAX]);
        let all: Vec<String> = all.map(String::from).collect();
        for chunk in all.chunks(1000) {
            let text = chunk.concat();
            sheet(&text, &axis(&text, &[&text]), Some(&axis("", &[&text, ""])), &pictures(2, 2000, 60)).unwrap();
        }
    }

    #[test]
    fn what_the_font_lacks_is_a_box() {
        let drawn = |title| sheet(title, &axis("i", &["1"]), None, &pictures(1, 128, 128)).unwrap();
        assert_eq!(drawn("画"), drawn("\u{1}"));
        assert_ne!(drawn("画"), drawn(""));
        assert_ne!(drawn("é"), drawn("画"));
        assert_ne!(drawn("ж"), drawn("画"));
        assert_eq!(drawn("a\tb\nc"), drawn("a b c"));
    }

    #[test]
    fn a_sheet_too_wide_is_made_of_smaller_pictures() {
        // 100 · 401 pixels and the gaps are more than twice the limit.
        let mut pictures = vec![plain(401, 30, [0, 0, 250]); 100];
        pictures[0] = plain(401, 30, colour(1));
        let sheet = sheet("a cat", &numbered("seed", 100), None, &pictures).unwrap();
        assert_eq!(place_of(&sheet, colour(1))[2..], [134, 10]);
        assert!(sheet.width <= 20_000);
    }

    #[test]
    fn a_smaller_picture_has_the_means_of_squares() {
        let mut first = plain(300, 3, [0; 3]);
        for (i, pixel) in first.rgb.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(if (i / 300 + i % 300) % 2 == 0 { &[90, 0, 250] } else { &[0, 90, 250] });
        }
        let mut pictures = vec![first; 199];
        pictures.push(plain(300, 3, [9, 9, 250]));
        let sheet = sheet("", &numbered("seed", 200), None, &pictures).unwrap();
        // 200 · 300 pixels and the margins are more than three times the limit.
        assert_eq!(place_of(&sheet, [9, 9, 250])[2..], [300 / 4, 1]);
        // Half of 4 x 3 pixels have each colour.
        assert!(place(&sheet, |rgb| rgb == [45, 45, 250]).is_some());
    }

    #[test]
    fn thousands_of_pictures_still_fit() {
        let cells = vec![plain(8, 8, colour(1)); 10_000];
        let wide = sheet("a cat", &numbered("seed", 10_000), None, &cells).unwrap();
        assert!(wide.width <= 20_000);
        let high = sheet("a cat", &numbered("seed", 1), Some(&numbered("steps", 10_000)), &cells).unwrap();
        assert!(high.height <= 20_000);
        let square = sheet("a cat", &numbered("seed", 100), Some(&numbered("steps", 100)), &cells).unwrap();
        assert!(square.width < 2000 && square.height < 2000);
    }

    #[test]
    fn more_pictures_than_pixels_are_refused() {
        let error = sheet("", &numbered("seed", 30_000), None, &vec![plain(1, 1, WHITE); 30_000]).unwrap_err();
        let expected = "30000 x 1 pictures do not fit on a sheet of 20000 pixels: sweep fewer values";
        assert_eq!(error.to_string(), expected);
    }
}

mod the_page {
    use super::*;

    fn html(title: &str, columns: &Axis, rows: Option<&Axis>, pictures: &[Picture]) -> String {
        let mut html = vec![];
        page(&mut html, title, columns, rows, pictures).unwrap();
        String::from_utf8(html).unwrap()
    }

    /// Returns the page's data, which for a browser ends at the first `</script`.
    fn data(html: &str) -> Value {
        let (_, after) = html.split_once(r#"<script type="application/json" id="sweep">"#).unwrap();
        serde_json::from_str(after.split_once("</script").unwrap().0).unwrap()
    }

    fn decoded(picture: &Value) -> Picture {
        let jpeg = picture["src"].as_str().unwrap().strip_prefix("data:image/jpeg;base64,").unwrap();
        let image = image::load_from_memory(&BASE64_STANDARD.decode(jpeg).unwrap()).unwrap().into_rgb8();
        Picture { width: image.width() as usize, height: image.height() as usize, rgb: image.into_raw() }
    }

    #[test]
    fn the_page_has_every_picture_once_row_by_row() {
        let (scale, steps) = (axis("scale", &["1", "5", "7.5"]), axis("steps", &["10", "20"]));
        let data = data(&html("a cat", &scale, Some(&steps), &pictures(6, 40, 24)));
        assert_eq!(data["title"], "a cat");
        assert_eq!(data["columns"], serde_json::json!({ "name": "scale", "values": ["1", "5", "7.5"] }));
        assert_eq!(data["rows"], serde_json::json!({ "name": "steps", "values": ["10", "20"] }));
        let drawn = data["pictures"].as_array().unwrap();
        assert_eq!(drawn.len(), 6);
        for (i, picture) in drawn.iter().enumerate() {
            assert_eq!((&picture["width"], &picture["height"]), (&40.into(), &24.into()));
            let picture = decoded(picture);
            assert_eq!((picture.width, picture.height), (40, 24));
            let middle = pixel(&picture, 20, 12);
            assert!(middle.iter().zip(colour(i)).all(|(a, b)| a.abs_diff(b) <= 3), "picture {i} is {middle:?}");
        }
    }

    #[test]
    fn a_single_axis_has_no_rows() {
        let data = data(&html("a cat", &axis("scale", &["1", "5"]), None, &pictures(2, 8, 8)));
        assert_eq!(data["rows"], Value::Null);
        assert_eq!(data["pictures"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn text_is_never_markup() {
        let hostile = [
            "</script><script>alert(1)</script>",
            "</ScRiPt ><img src=x onerror=alert(1)>",
            "<!--<script>",
            "]]>",
            r#"" onload="alert(1)"#,
            r"'\u003c/script>\",
            "{{sweep}} ${alert(1)} `",
            "\u{2028}\u{2029}\0\u{7f}",
            "&lt;&#60;&quot;",
        ];
        let clean = html("", &axis("", &[""]), None, &pictures(1, 8, 8));
        for text in hostile {
            let html = html(text, &axis(text, &[text]), Some(&axis(text, &[text])), &pictures(1, 8, 8));
            let data = data(&html);
            for said in [&data["title"], &data["columns"]["name"], &data["rows"]["values"][0]] {
                assert_eq!(said, text);
            }
            assert_eq!(html.matches('<').count(), clean.matches('<').count(), "{text}");
        }
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let html = html("a cat", &axis("scale", &["1"]), None, &pictures(1, 8, 8));
        for elsewhere in ["http:", "https:", "//cdn", "@import", "url(", "<link"] {
            assert!(!html.contains(elsewhere), "{elsewhere}");
        }
        assert!(html.contains("default-src 'none'"));
    }

    #[test]
    fn a_page_of_many_pictures_is_made_of_smaller_ones() {
        // Noise, the worst case for JPEG: 700 times about 180 kB.
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let picture = Picture { width: 256, height: 256, rgb: (0..3 * 256 * 256).map(|_| noise()).collect() };
        let html = html("a cat", &numbered("seed", 700), None, &vec![picture; 700]);
        assert!((10_000_000..70_000_000).contains(&html.len()), "{} bytes", html.len());
        let data = data(&html);
        assert_eq!(data["pictures"][699]["width"], 256);
        assert_eq!(decoded(&data["pictures"][699]).width, 128);
    }

    #[test]
    fn a_failed_write_is_an_error() {
        let mut full = std::io::Cursor::new([0; 4000]);
        let scale = axis("scale", &["1"]);
        assert!(page(&mut full.get_mut().as_mut_slice(), "a cat", &scale, None, &pictures(1, 8, 8)).is_err());
    }

    /// Writes the page for `tests/browser/click_through.sh`, which sets the path.
    #[test]
    #[ignore = "writes a page for the browser"]
    fn a_page_to_click_through() {
        let (scale, steps) = (axis("scale", &["1", "5", "7.5", "<b>\"10\"</b>"]), axis("steps", &["10", "20", "50"]));
        let hues = |x: usize, y: usize, i: usize| [(x / 2) as u8, (y / 2) as u8, (20 * i) as u8];
        let picture = |i: usize| Picture {
            width: 512,
            height: 512,
            rgb: (0..512 * 512).flat_map(|at| hues(at % 512, at / 512, i)).collect(),
        };
        let pictures: Vec<_> = (0..12).map(picture).collect();
        let title = "an oil painting of a fox </script><script>document.title = 'harmed'</script> in the \"snow\"";
        let path = std::env::var_os("TXT2IMG_PAGE").expect("TXT2IMG_PAGE is the page's path");
        page(&mut std::fs::File::create(path).unwrap(), title, &scale, Some(&steps), &pictures).unwrap();
    }
}

#[test]
fn incomplete_sweeps_are_refused() {
    let refusal = |columns: &Axis, rows: Option<&Axis>, pictures: &[Picture]| {
        let error = format!("{:#}", sheet("", columns, rows, pictures).unwrap_err());
        assert_eq!(format!("{:#}", page(&mut vec![], "", columns, rows, pictures).unwrap_err()), error);
        error
    };
    let (none, two) = (axis("scale", &[]), axis("steps", &["1", "2"]));
    assert_eq!(refusal(&none, None, &[]), "a sweep over scale needs at least one value of it");
    assert_eq!(refusal(&two, Some(&none), &[]), "a sweep over scale needs at least one value of it");
    let expected = "a sweep of 2 x 2 values needs a picture for each, not 3";
    assert_eq!(refusal(&two, Some(&two), &pictures(3, 8, 8)), expected);

    let short = |width, height| [plain(8, 8, WHITE), Picture { width, height, rgb: vec![0; 12] }];
    let expected = "picture 2 of 2 is damaged: a picture of 2x3 pixels has 12 values";
    assert_eq!(refusal(&two, None, &short(2, 3)), expected);
    assert!(refusal(&two, None, &short(usize::MAX, usize::MAX)).contains("damaged"));
    let nothing = [plain(8, 8, WHITE), plain(0, usize::MAX, WHITE)];
    assert!(refusal(&two, None, &nothing).contains("damaged"));
}
