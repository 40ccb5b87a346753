"""What a tag says of a song: its kind, by the words in it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from musicq_async.media.names.characters import KANA, scripts
from musicq_async.media.names.dictionary import NAMES, Names
from musicq_async.media.names.values import TagKind

_INSTRUMENTS: Final = (
    "吉他|钢琴|鋼琴|古筝|古箏|二胡|琵琶|笛子|竹笛|小提琴|大提琴|尤克里里|口琴|萨克斯|薩克斯|卡林巴|手风琴|"
    "竖琴|唢呐|嗩吶|箜篌|葫芦丝|陶笛|电吉他|指弹|"
    "ピアノ|ギター|バイオリン|피아노|기타"
)
_LANGUAGES: Final = (
    "国语|國語|粤语|粵語|粤配|中文|汉语|漢語|华语|華語|普通话|日语|日語|日文|英文|英语|英語|韩语|韓語|"
    "韩文|韓文|闽南语|閩南語|台语|台語|客家话|"
    "法语|法文|德语|德文|俄语|俄文|泰语|泰文|西班牙语|意大利语|葡萄牙语|阿拉伯语|越南语|印尼语|藏语|蒙语|"
    "蒙古语|维语|方言|四川话|东北话|上海话|川话|"
    "语言版|語言版|双语|雙語|日本語|中国語|韓国語|広東語|한국어|영어|일본어|중국어"
)
_LATIN_LANGUAGES: Final = (
    "english|japanese|korean|chinese|mandarin|cantonese|spanish|french|german|italian|russian|thai|portuguese|"
    "eng|jpn?|kor|chn?|cn|kr|en"
)
_VERSION: Final = r"(?:ver|vers|version)\.?"


def _words(han: str, latin: str = "") -> re.Pattern[str]:
    """Compile words: those in Latin letters stand alone, the others stand anywhere."""
    alternatives = [part for part in (han, f"(?<![a-z])(?:{latin})(?![a-z])" if latin else "") if part]
    return re.compile("|".join(alternatives))


_KINDS: Final[tuple[tuple[TagKind, re.Pattern[str]], ...]] = (
    (
        "instrumental",
        _words(
            "(?<![无無])伴奏|纯音乐|純音樂|无人声|無人聲|オフボーカル|カラオケ|インスト(?!ア)|반주|인스트",
            r"inst|instr|inst(?:rument|urment)als?|off[ -]?vocal|karaoke|backing track|minus one|no vocals?",
        ),
    ),
    (
        "speed",
        _words(
            r"加速|降速|慢速|变速|變速|减速|倍速|慢放|(?<![\d.])\d(?:\.\d+)?\s*[x×倍](?![a-z])",
            r"sped[ -]?up|speed(?:ed)?[ -]?up|slowed|slow(?:ed)? (?:down|ver)|nightcore|daycore",
        ),
    ),
    (
        "live",
        _words(
            "现场|現場|演唱会|演唱會|音乐节|音樂節|ライブ|ライヴ|라이브|콘서트|巡演",
            r"(?<!to )live(?! (?:your|my|our|for|and|forever|again|without|like|it|a|the)(?![a-z]))|unplugged|"
            r"concert",
        ),
    ),
    (
        "edit",
        _words(
            "完整版|剪辑|剪輯|加长版|加長版|短版|长版|^片段|サイズ|(?:ショート|フル|ロング)(?:バージョン|"
            "ver|$)|tv版|(?:短|长)版",
            rf"(?:tv|radio|single|short|full|extended|original|long|game|anime|movie)[ -]?(?:edit|size|mix|cut)"
            rf"|(?:tv|radio|single|short|full|extended|original|long)[ -]?{_VERSION}|[a-z]+ size|edit|"
            rf"extended|\A(?:full|short)\Z",
        ),
    ),
    (
        "remix",
        _words(
            "串烧|串燒|混音|dj.*版|^dj|リミックス|マッシュアップ|리믹스",
            r"(?:re|mega|mini|club)?[ -]?mix|remixe[sd]|rmx|bootleg|flip|rework|re-?fix|mash[ -]?up",
        ),
    ),
    (
        "cover",
        _words("翻唱|翻自|歌ってみた|うたってみた|カバー|カヴァー|커버", "cov(?:er(?:ed|s)?)?"),
    ),
    (
        "acoustic",
        _words(
            f"弹唱|彈唱|不插电|不插電|弾き語り|アコースティック|어쿠스틱|清唱|[无無]伴奏|阿卡贝拉|アカペラ|"
            f"{_INSTRUMENTS}",
            "acoustic|piano|guitar|a ?cc?app?ell?a",
        ),
    ),
    ("remaster", _words("重制|重製|リマスター|리마스터", "re-?master(?:ed)?")),
    ("demo", _words("小样|デモ|데모", "demos?")),
    ("feat", _words("", "feat|ft|featuring")),
    ("feat", re.compile(r"\A(?:with (?!you|me(?![a-z])|us(?![a-z])|love|or(?![a-z])|all|the)|w/)")),
    (
        "source",
        _words(
            "《|主题曲|主題曲|主题歌|主題歌|[片][头頭尾]曲|插曲|推广曲|推廣曲|宣传曲|宣傳曲|印象曲|角色曲|"
            "片名曲|广告曲|主打歌|原声|原聲|配乐|"
            "オープニング|エンディング|テーマ|挿入歌|キャラクターソング|キャラソン|イメージソング|サウンドトラック|"
            "电影|電影|动画|動畫|アニメ|游戏|遊戲|ゲーム|电视剧|電視劇|网剧|網劇|影视|综艺|动漫|映画|ドラマ|"
            "劇場版[「『]|드라마|영화|주제가|삽입곡|"
            "^(?:op|ed)\\s*\\d*$|^from[ ]",
            r"ost|soundtrack|theme|\A(?:opening|ending)|(?:opening|ending) (?:theme|song)|insert song|motion picture",
        ),
    ),
    (
        "credit",
        _words(
            "原唱|作曲|作词|作詞|编曲|編曲|词曲|詞曲|填词|填詞",
            r"prod|cv|arr|vo|(?:produced|arranged|composed|written|lyrics) by",
        ),
    ),
    ("language", _words(_LANGUAGES, rf"(?:{_LATIN_LANGUAGES})[ -]*{_VERSION}")),
    (
        "language",
        re.compile(
            r"\A[国國粤粵日英韩韓]\Z|\A(?:english|japanese|korean|chinese|mandarin|cantonese|spanish|french|german)\Z"
        ),
    ),
    (
        "part",
        _words(
            "第.{1,4}[章部话話回集篇季弹彈弾]|^[上中下](?:篇|集|部)?$|[前中後后][編编篇]|其[一二三四五六]",
            r"(?:pt|part|vol|volume|chapter|act|episode|ep)[. _-]*(?:\d+|[ivx]+|one|two|three|four|[a-e])",
        ),
    ),
    (
        "quality",
        _words(
            "无损|無損|高音质|高音質|母带|母帶",
            r"hi-?res(?:olution)?|flac|wav|hq|sq|320k(?:bps)?|\d+ ?bit|\d+ ?khz|dsd",
        ),
    ),
    ("version", _words("版|バージョン|ヴァージョン|버전", rf"{_VERSION}|v\.?\d|type ?[a-z\d]|side ?[a-z\d]|take ?\d")),
)
_NOT_A_TRANSLATION: Final = re.compile(
    r"[女男童]声|[女男童]聲|[合独對对獨][唱奏]|序曲|尾声|前奏|间奏|片段|抖音|热搜|热门|单曲|试听|铃声|鈴聲|"
    r"(?<![a-z])(?:explicit|clean|bonus|interlude|intro|outro|skit|deluxe|solo|duet|reprise|prologue|epilogue|"
    r"prelude|hidden|mono|stereo|vocal)(?![a-z])"
)


def tag_kind(text: str, title: str = "", artists: tuple[str, ...] = (), names: Names = NAMES) -> TagKind:
    """Return what a tag says: the first kind whose words it holds, else a translation of the title, else ``other``."""
    kind = worded_kind(text)
    if kind != "other":
        return kind
    return "translation" if _translates(text, title, artists, names) else "other"


@lru_cache(maxsize=8192)
def worded_kind(text: str) -> TagKind:
    """Return the kind that the words of a tag name, or ``other``."""
    lowered = text.lower()
    for kind, pattern in _KINDS:
        if pattern.search(lowered):
            return kind
    return "other"


def _translates(text: str, title: str, artists: tuple[str, ...], names: Names) -> bool:
    """Say whether the tag is the title in another language, judged by the scripts of both."""
    here, there = scripts(text), scripts(title)
    if not here or _NOT_A_TRANSLATION.search(text.lower()):
        return False
    if here != there:
        return True
    return here == {"han"} and any(_is_japanese(artist, names) for artist in artists)


def _is_japanese(artist: str, names: Names) -> bool:
    return names.region(artist) == "ja" or re.search(f"[{KANA}]", artist) is not None
