"""What LaTeX's names of symbols, functions, accents, fonts and colours are in Typst's formulas."""


def _words(text: str) -> set[str]:
    return set(text.split())


# A command without arguments, and the character that it stands for
_PAIRS = r"""
alpha=α beta=β gamma=γ delta=δ epsilon=ϵ varepsilon=ε zeta=ζ eta=η theta=θ vartheta=ϑ iota=ι
kappa=κ varkappa=ϰ lambda=λ mu=μ nu=ν xi=ξ omicron=ο pi=π varpi=ϖ rho=ρ varrho=ϱ sigma=σ
varsigma=ς tau=τ upsilon=υ phi=ϕ varphi=φ chi=χ psi=ψ omega=ω digamma=ϝ Gamma=Γ Delta=Δ Theta=Θ
Lambda=Λ Xi=Ξ Pi=Π Sigma=Σ Upsilon=Υ Phi=Φ Psi=Ψ Omega=Ω Alpha=Α Beta=Β Epsilon=Ε Zeta=Ζ Eta=Η
Iota=Ι Kappa=Κ Mu=Μ Nu=Ν Omicron=Ο Rho=Ρ Tau=Τ Chi=Χ varGamma=𝛤 varDelta=𝛥 varTheta=𝛩
varLambda=𝛬 varXi=𝛯 varPi=𝛱 varSigma=𝛴 varUpsilon=𝛶 varPhi=𝛷 varPsi=𝛹 varOmega=𝛺
nabla=∇ partial=∂ ell=ℓ infty=∞ emptyset=∅ varnothing=∅ forall=∀ exists=∃ nexists=∄ Re=ℜ Im=ℑ
wp=℘ aleph=ℵ beth=ℶ gimel=ℷ daleth=ℸ hbar=ℏ hslash=ℏ imath=ı jmath=ȷ complement=∁ eth=ð mho=℧
Finv=Ⅎ top=⊤ bot=⊥ angle=∠ measuredangle=∡ sphericalangle=∢ surd=√ neg=¬ lnot=¬ flat=♭ natural=♮
sharp=♯ clubsuit=♣ diamondsuit=♢ heartsuit=♡ spadesuit=♠ checkmark=✓ maltese=✠ bigstar=★
degree=° prime=′ backprime=‵ triangle=△ Box=□ square=□ blacksquare=■ Diamond=◊ lozenge=◊
blacklozenge=⧫ triangledown=▽ blacktriangle=▲ blacktriangledown=▼ circledS=Ⓢ circledR=® yen=¥
pounds=£ copyright=© S=§ P=¶ dag=† ddag=‡ ldots=… dots=… dotsc=… dotso=… textellipsis=… cdots=⋯
dotsb=⋯ dotsm=⋯ dotsi=⋯ vdots=⋮ ddots=⋱ iddots=⋰
sum=∑ prod=∏ coprod=∐ int=∫ iint=∬ iiint=∭ iiiint=⨌ oint=∮ oiint=∯ oiiint=∰ bigcap=⋂ bigcup=⋃
bigsqcup=⨆ bigvee=⋁ bigwedge=⋀ bigodot=⨀ bigoplus=⨁ bigotimes=⨂ biguplus=⨄ intop=∫ smallint=∫
odot=⊙ otimes=⊗ ominus=⊖ oplus=⊕ oslash=⊘ circledast=⊛ circledcirc=⊚ circleddash=⊝ boxplus=⊞
boxminus=⊟ boxtimes=⊠ boxdot=⊡ cap=∩ cup=∪ Cap=⋒ Cup=⋓ sqcap=⊓ sqcup=⊔ uplus=⊎ wedge=∧ land=∧
vee=∨ lor=∨ veebar=⊻ barwedge=⊼ curlyvee=⋎ curlywedge=⋏ cdot=⋅ centerdot=⋅ cdotp=⋅ times=× pm=±
mp=∓ div=÷ ast=∗ star=⋆ circ=∘ bullet=∙ dagger=† ddagger=‡ amalg=⨿ setminus=∖ smallsetminus=∖
wr=≀ diamond=⋄ bigcirc=◯ bigtriangleup=△ bigtriangledown=▽ lhd=⊲ rhd=⊳ unlhd=⊴ unrhd=⊵ ltimes=⋉
rtimes=⋊ leftthreetimes=⋋ rightthreetimes=⋌ dotplus=∔ intercal=⊺ divideontimes=⋇
le=≤ leq=≤ leqslant=⩽ ge=≥ geq=≥ geqslant=⩾ lt=< gt=> ne=≠ neq=≠ approx=≈ approxeq=≊ equiv=≡
sim=∼ simeq=≃ cong=≅ asymp=≍ doteq=≐ Doteq=≑ propto=∝ varpropto=∝ ll=≪ lll=⋘ gg=≫ ggg=⋙
lesssim=≲ gtrsim=≳ lessgtr=≶ gtrless=≷ lessapprox=⪅ gtrapprox=⪆ leqq=≦ geqq=≧ lneq=⪇ gneq=⪈
nless=≮ ngtr=≯ nleq=≰ ngeq=≱ prec=≺ succ=≻ preceq=⪯ succeq=⪰ preccurlyeq=≼ succcurlyeq=≽
precsim=≾ succsim=≿ triangleq=≜ coloneqq=≔ eqqcolon=≕ coloneq=≔ perp=⟂ parallel=∥ nparallel=∦
mid=∣ nmid=∤ vert=| lvert=| rvert=| Vert=‖ lVert=‖ rVert=‖ models=⊨ vDash=⊨ vdash=⊢ dashv=⊣
Vdash=⊩ Vvdash=⊪ nvdash=⊬ nvDash=⊭ in=∈ notin=∉ ni=∋ owns=∋ subset=⊂ subseteq=⊆ subsetneq=⊊
nsubseteq=⊈ supset=⊃ supseteq=⊇ supsetneq=⊋ nsupseteq=⊉ Subset=⋐ Supset=⋑ subseteqq=⫅
supseteqq=⫆ sqsubset=⊏ sqsubseteq=⊑ sqsupset=⊐ sqsupseteq=⊒ triangleleft=⊲ triangleright=⊳
trianglelefteq=⊴ trianglerighteq=⊵ vartriangle=△ bowtie=⋈ Join=⋈ smile=⌣ frown=⌢ between=≬
pitchfork=⋔ therefore=∴ because=∵ risingdotseq=≓ fallingdotseq=≒ circeq=≗ bumpeq=≏ Bumpeq=≎
backsim=∽ thicksim=∼ thickapprox=≈ multimap=⊸ colon=: vcentcolon=:
to=→ rightarrow=→ gets=← leftarrow=← leftrightarrow=↔ Rightarrow=⇒ Leftarrow=⇐ Leftrightarrow=⇔
implies=⟹ impliedby=⟸ iff=⟺ mapsto=↦ longmapsto=⟼ longrightarrow=⟶ longleftarrow=⟵
longleftrightarrow=⟷ Longrightarrow=⟹ Longleftarrow=⟸ Longleftrightarrow=⟺ uparrow=↑ downarrow=↓
updownarrow=↕ Uparrow=⇑ Downarrow=⇓ Updownarrow=⇕ nearrow=↗ searrow=↘ swarrow=↙ nwarrow=↖
hookrightarrow=↪ hookleftarrow=↩ rightharpoonup=⇀ rightharpoondown=⇁ leftharpoonup=↼
leftharpoondown=↽ rightleftharpoons=⇌ leftrightharpoons=⇋ rightleftarrows=⇄ leftrightarrows=⇆
rightrightarrows=⇉ leftleftarrows=⇇ upuparrows=⇈ downdownarrows=⇊ rightsquigarrow=⇝ leadsto=⇝
leftrightsquigarrow=↭ twoheadrightarrow=↠ twoheadleftarrow=↞ rightarrowtail=↣ leftarrowtail=↢
curvearrowright=↷ curvearrowleft=↶ circlearrowright=↻ circlearrowleft=↺ nrightarrow=↛
nleftarrow=↚ nRightarrow=⇏ nLeftarrow=⇍ nleftrightarrow=↮ dashrightarrow=⇢ dashleftarrow=⇠
Lsh=↰ Rsh=↱ restriction=↾ upharpoonright=↾
lbrace={ rbrace=} lbrack=[ rbrack=] langle=⟨ rangle=⟩ lfloor=⌊ rfloor=⌋ lceil=⌈ rceil=⌉
llbracket=⟦ rrbracket=⟧ lgroup=⟮ rgroup=⟯ lmoustache=⎰ rmoustache=⎱ ulcorner=⌜ urcorner=⌝
llcorner=⌞ lrcorner=⌟ backslash=\ AA=Å ss=ß ae=æ oe=œ o=ø l=ł
textbackslash=\ textasciitilde=~ textunderscore=_ textdollar=$ textless=< textgreater=> textbar=|
textquotesingle=' textdegree=° texttimes=× textmu=µ
{={ }=} |=‖ %=% $=$ &=& _=_ #=#
"""
CHARACTERS = dict(pair.split("=", 1) for pair in _PAIRS.split())
LETTERS = {"R": "R", "N": "N", "Z": "Z", "Q": "Q", "C": "C", "Bbbk": "k", "reals": "R"}

FUNCTIONS = _words(
    "arccos arcsin arctan arg cos cosh cot coth csc deg dim exp hom ker lg ln log sec sin sinh tan "
    "tanh arccot arcsec arccsc sech csch sgn Tr tr"
)
LIMITS = _words("det gcd inf lim max min sup Pr argmax argmin injlim projlim plim")
LIMITS_OF_TWO_WORDS = {"liminf": "lim inf", "limsup": "lim sup"}

ACCENTS = {
    "hat": "hat", "widehat": "hat", "tilde": "tilde", "widetilde": "tilde", "bar": "macron",
    "vec": "arrow", "overrightarrow": "arrow", "overleftarrow": "arrow.l", "dot": "dot",
    "overleftrightarrow": "arrow.l.r", "ddot": "dot.double", "dddot": "dot.triple",
    "ddddot": "dot.quad", "check": "caron", "widecheck": "caron", "breve": "breve",
    "acute": "acute", "grave": "grave", "mathring": "circle",
}  # fmt: skip
LINES = {  # with what is written above or below
    "overbrace": "overbrace", "underbrace": "underbrace", "overbracket": "overbracket",
    "underbracket": "underbracket", "overparen": "overparen", "underparen": "underparen",
}  # fmt: skip
FONTS = {
    "mathbb": "bb({})", "mathcal": "cal({})", "mathscr": "scr({})", "mathfrak": "frak({})",
    "mathbf": "bold(upright({}))", "boldsymbol": "bold({})", "bm": "bold({})",
    "pmb": "bold({})", "mathrm": "upright({})", "mathsf": "sans({})", "mathtt": "mono({})",
    "mathit": "italic({})", "mathnormal": "{}", "Bbb": "bb({})", "frak": "frak({})",
    "mathds": "bb({})", "symbf": "bold({})", "mathbfit": "bold({})", "bold": "bold(upright({}))",
    "overline": "overline({})", "underline": "underline({})", "cancel": "cancel({})",
    "bcancel": "cancel(inverted: #true, {})", "xcancel": "cancel(cross: #true, {})",
    "sout": "cancel(angle: #90deg, {})", "boxed": "#rect(stroke: 0.5pt, inset: 3pt, $ {} $)",
    "fbox": "#box(stroke: 0.5pt, inset: 3pt, ${}$)", "phantom": "#hide(${}$)",
    "hphantom": "#hide(${}$)", "smash": "{}", "mathstrut": "{}", "mathord": 'class("normal", {})',
    "mathbin": 'class("binary", {})', "mathrel": 'class("relation", {})',
    "mathopen": 'class("opening", {})', "mathclose": 'class("closing", {})',
    "mathpunct": 'class("punctuation", {})', "mathinner": "{}", "mathop": "op({})",
    "underset": "{}", "bra": "\\⟨ {} \\|", "ket": "\\| {} \\⟩", "braket": "\\⟨ {} \\⟩",
    "Bra": "lr(\\⟨ {} \\|)", "Ket": "lr(\\| {} \\⟩)", "pod": "quad \\( {} \\)",
    "pmod": 'quad \\( op("mod") {} \\)',
    "mod": 'quad op("mod") {}', "bbox": "{}", "rlap": "{}", "llap": "{}", "mathrlap": "{}",
    "mathllap": "{}", "mathclap": "{}", "overarc": "overparen({})", "utilde": "underline({})",
}  # fmt: skip
OLD_FONTS = {  # from here to the end of the group
    "bf": "bold(upright({}))", "rm": "upright({})", "it": "italic({})", "cal": "cal({})",
    "sf": "sans({})", "tt": "mono({})", "displaystyle": "display({})", "textstyle": "inline({})",
    "scriptstyle": "script({})", "scriptscriptstyle": "sscript({})", "boldmath": "bold({})",
}  # fmt: skip
TEXTS = {
    "text": "{}", "textrm": "{}", "textnormal": "{}", "mbox": "{}", "hbox": "{}",
    "textup": "{}", "textbf": "bold({})", "textit": "italic({})", "emph": "italic({})",
    "texttt": "mono({})", "textsf": "sans({})", "textsc": "{}", "textmd": "{}",
}  # fmt: skip
SPACES = {
    ",": "thin", "thinspace": "thin", ":": "med", ">": "med", "medspace": "med", ";": "thick",
    "thickspace": "thick", "!": "#h(-0.167em)", "negthinspace": "#h(-0.167em)",
    "negmedspace": "#h(-0.222em)", "negthickspace": "#h(-0.278em)", "quad": "quad",
    "qquad": "wide", "enspace": "#h(0.5em)", "enskip": "#h(0.5em)", " ": "space", "\n": "space",
    "nobreakspace": "space", "space": "space",
}  # fmt: skip
IGNORED = _words(
    "nonumber notag limits nolimits displaylimits allowbreak nobreak strut relax null centering "
    "hfill hfil vfill noindent small large Large LARGE huge Huge tiny normalsize footnotesize "
    "scriptsize allowdisplaybreaks nopagebreak break left. mathstrut - / hline toprule midrule "
    "bottomrule ensuremath unboldmath newpage smallskip medskip bigskip mit leavevmode"
)
IGNORED_WITH_ARGUMENT = _words(
    "label require vspace vskip vphantom cline hdashline def\\ index setlength raisebox"
)
KEPT_SECOND = _words("class cssId style href fcolorbox texorpdfstring raise lower")
BIG = {
    **dict.fromkeys(("big", "bigl", "bigr", "bigm"), "1.2em"),
    **dict.fromkeys(("Big", "Bigl", "Bigr", "Bigm"), "1.8em"),
    **dict.fromkeys(("bigg", "biggl", "biggr", "biggm"), "2.4em"),
    **dict.fromkeys(("Bigg", "Biggl", "Biggr", "Biggm"), "3em"),
}
ARROWS = {
    "xrightarrow": "→", "xleftarrow": "←", "xRightarrow": "⇒", "xLeftarrow": "⇐",
    "xleftrightarrow": "↔", "xLeftrightarrow": "⇔", "xmapsto": "↦", "xrightharpoonup": "⇀",
    "xhookrightarrow": "↪", "xrightleftharpoons": "⇌", "xlongequal": "=", "xtofrom": "⇄",
}  # fmt: skip
COLORS = {
    "red": "#ff0000", "blue": "#0000ff", "green": "#008000", "black": "#000000", "cyan": "#00ffff",
    "magenta": "#ff00ff", "yellow": "#ffff00", "orange": "#ffa500", "purple": "#800080",
    "brown": "#a52a2a", "gray": "#808080", "grey": "#808080", "teal": "#008080", "lime": "#00ff00",
    "navy": "#000080", "maroon": "#800000", "olive": "#808000", "pink": "#ffc0cb",
    "violet": "#ee82ee", "crimson": "#dc143c", "darkred": "#8b0000", "darkblue": "#00008b",
    "darkgreen": "#006400", "darkorange": "#ff8c00", "dodgerblue": "#1e90ff", "tomato": "#ff6347",
    "steelblue": "#4682b4", "royalblue": "#4169e1", "forestgreen": "#228b22", "indigo": "#4b0082",
    "firebrick": "#b22222", "coral": "#ff7f50", "gold": "#ffd700", "salmon": "#fa8072",
}  # fmt: skip
MATRICES = {
    "matrix": "#none", "smallmatrix": "#none", "array": "#none", "subarray": "#none",
    "pmatrix": '"("', "bmatrix": '"["', "Bmatrix": '"{"', "vmatrix": '"|"', "Vmatrix": '"‖"',
    "tabular": "#none", "psmallmatrix": '"("', "bsmallmatrix": '"["',
}  # fmt: skip
